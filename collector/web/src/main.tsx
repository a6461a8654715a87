// The page: begins to ask the collector, and shows what it says.

import { render } from "preact";
import { arrange } from "./arrange";
import { Detail } from "./detail";
import { Events } from "./eventlist";
import { Attention, Degraded, Header } from "./header";
import { setToken, token } from "./http";
import { List, Toolbar } from "./list";
import { begin, onChange, state } from "./store";
import "./styles.css";
import { chosen, go, listLink, onMove, readAddress, ui } from "./ui";

/** How long rows keep their places after the pointer moved over them. */
const HOLD_MS = 4000;

let heldAt = Number.NEGATIVE_INFINITY;

function Login() {
  const submit = (event: Event) => {
    event.preventDefault();
    const field = (event.currentTarget as HTMLFormElement).elements.namedItem("token") as HTMLInputElement;
    setToken(field.value.trim());
    begin();
  };
  return (
    <main class="login">
      <h1>This collector asks for a token</h1>
      <form onSubmit={submit}>
        <label for="token">Bearer token</label>
        <input id="token" name="token" type="password" autocomplete="off" required />
        <button type="submit">Show containers</button>
      </form>
      {token() === null ? null : (
        <p role="alert" class="trouble">
          The collector does not know this token: it is a line of the file given with --bearer_token_file.
        </p>
      )}
      <p class="quiet">It is kept until this tab is closed.</p>
    </main>
  );
}

function Containers() {
  const arranged = arrange(performance.now() - heldAt < HOLD_MS);
  return (
    <>
      <Attention hurting={arranged.hurting} />
      <nav class="tabs" aria-label="Views">
        <button type="button" aria-pressed={ui.tab === "containers"} onClick={() => chosen({ tab: "containers" })}>
          Containers
        </button>
        <button type="button" aria-pressed={ui.tab === "events"} onClick={() => chosen({ tab: "events" })}>
          Events
        </button>
      </nav>
      <main>
        <Toolbar arranged={arranged} />
        <List
          arranged={arranged}
          hold={(held) => {
            heldAt = held ? performance.now() : Number.NEGATIVE_INFINITY;
          }}
        />
      </main>
      <Events search={ui.search} />
    </>
  );
}

function App() {
  if (state.connection === "unauthorised") return <Login />;
  const list = ui.route.page === "list";
  return (
    <div class={`page ${ui.past ? "then " : ""}${list ? `list ${ui.tab}` : "one"}`}>
      <Header />
      <Degraded />
      {list ? <Containers /> : <Detail />}
    </div>
  );
}

const place = document.getElementById("page")!;
let due = false;

/** However much happens at once, it is shown once a frame. */
function show(): void {
  if (due) return;
  due = true;
  const now = () => {
    due = false;
    const began = performance.now();
    render(<App />, place);
    performance.measure("show", { start: began });
  };
  if (document.hidden) setTimeout(now, 0);
  else requestAnimationFrame(now);
}

addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && ui.route.page === "list") {
    event.preventDefault();
    document.querySelector<HTMLInputElement>("#search")?.focus();
  } else if (event.key === "Escape") {
    if (ui.route.page !== "list") {
      if (history.state?.within) history.back();
      else go(listLink());
    } else if (ui.search) {
      chosen({ search: "" });
    } else if (typing) {
      (event.target as HTMLElement).blur();
    }
  } else if (ui.route.page === "list" && (event.key === "ArrowDown" || (event.key === "Enter" && typing))) {
    // From the search into what it found.
    const into = event.target instanceof HTMLInputElement || event.target === document.body;
    const first = document.querySelector<HTMLElement>('.scroller [data-key][tabindex="0"]');
    if (into && first) {
      event.preventDefault();
      if (event.key === "Enter") document.querySelector<HTMLElement>(".scroller a[data-key]")?.click();
      else {
        first.focus();
        chosen({ at: first.dataset.key ?? null });
      }
    }
  }
});

readAddress();
onChange(show);
onMove(show);
show();
begin();
