// Requests to the collector that served the page, with a token where one is needed.

const TOKEN = "collector.token";

export class Unauthorised extends Error {}

export function token(): string | null {
  return sessionStorage.getItem(TOKEN);
}

export function setToken(value: string): void {
  if (value === "") sessionStorage.removeItem(TOKEN);
  else sessionStorage.setItem(TOKEN, value);
}

/** Asks for a path below the page's base; throws what the collector says. */
export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const held = token();
  if (held !== null) headers.set("Authorization", `Bearer ${held}`);
  const answer = await fetch(new URL(path, document.baseURI), { ...init, headers }).catch((error: unknown) => {
    // Browsers say nothing of why, each in its own words.
    throw error instanceof TypeError ? new Error("it cannot be reached") : error;
  });
  if (answer.status === 401 && /bearer/i.test(answer.headers.get("WWW-Authenticate") ?? "")) throw new Unauthorised();
  if (!answer.ok) throw new Error((await answer.text()).trim() || `HTTP ${answer.status}`);
  return answer;
}

/** A container's name as part of a path. */
export function encodeName(name: string): string {
  return name.split("/").map(encodeURIComponent).join("/");
}
