import { defineConfig } from "vite";

// `npm run dev` serves the page from its source and asks a running collector for everything else:
// COLLECTOR=http://127.0.0.1:8080 npm run dev
const collector = process.env.COLLECTOR ?? "http://127.0.0.1:8080";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  plugins: [
    {
      name: "page-from-source",
      apply: "serve",
      transformIndexHtml: {
        order: "pre",
        handler: (html) =>
          html
            .replace(/<link rel="(icon|stylesheet)"[^>]*>\n/g, "")
            .replace(/<script src="static\/containers.js"[^>]*>/, '<script type="module" src="/src/main.tsx">'),
      },
    },
  ],
  server: { proxy: { "/api": collector, "/healthz": collector, "/metrics": collector } },
  build: {
    target: "es2022",
    outDir: "dist",
    assetsDir: "",
    // The page has no modules: one script and one style sheet, whose names do not change.
    cssCodeSplit: false,
    modulePreload: false,
    reportCompressedSize: true,
    rollupOptions: {
      input: "src/main.tsx",
      output: { format: "iife", entryFileNames: "containers.js", assetFileNames: "containers.[ext]" },
    },
  },
});
