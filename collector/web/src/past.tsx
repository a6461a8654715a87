// The past: which span is looked at, and the way there and back.

import { useEffect, useRef, useState } from "preact/hooks";
import { span } from "./format";
import { state } from "./store";
import { type Span, look, ui } from "./ui";

const HOUR_MS = 3_600_000;
const SPANS: [string, number][] = [
  ["Last hour", HOUR_MS],
  ["Last 6 hours", 6 * HOUR_MS],
  ["Last 24 hours", 24 * HOUR_MS],
];

/** A time as the fields for one have it: in the browser's zone, without saying so. */
function toField(at: number): string {
  return new Date(at - new Date(at).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function moment(at: number): string {
  return new Date(at).toLocaleString("en-GB", { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** Opens the choice of a span; nothing where no history is kept. */
export function PastButton() {
  const [open, setOpen] = useState(false);
  const [wrong, setWrong] = useState("");
  const from = state.node?.history_from;
  const box = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);

  useEffect(() => {
    if (!open) return;
    box.current?.querySelector<HTMLElement>("button, input")?.focus();
    const outside = (event: MouseEvent) => {
      if (!box.current?.parentElement?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, [open]);

  if (from == null) return null;
  const choose = (chosen: Span) => {
    setOpen(false);
    setWrong("");
    button.current?.focus();
    look(chosen);
  };
  const back = (length: number) => {
    const to = Date.now();
    choose({ from: to - length, to });
  };
  const submit = (event: Event) => {
    event.preventDefault();
    const fields = (event.currentTarget as HTMLFormElement).elements;
    const at = (name: string) => new Date((fields.namedItem(name) as HTMLInputElement).value).getTime();
    const chosen = { from: at("from"), to: at("to") };
    if (!(chosen.from < chosen.to)) setWrong("The span has to begin before it ends.");
    else choose(chosen);
  };
  const shown = ui.past ?? { from: Math.max(from, Date.now() - HOUR_MS), to: Date.now() };
  return (
    <div
      class="looking-back"
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !open) return;
        event.stopPropagation();
        setOpen(false);
        button.current?.focus();
      }}
    >
      <button type="button" class="past-button" ref={button} aria-expanded={open} aria-controls="span" onClick={() => setOpen(!open)}>
        Look back
      </button>
      <div id="span" class="span" ref={box} hidden={!open} role="group" aria-label="Span of the past">
        <div class="spans">
          {SPANS.map(([name, length]) => (
            <button key={name} type="button" onClick={() => back(length)}>
              {name}
            </button>
          ))}
        </div>
        <form
          onSubmit={submit}
          key={`${open}`}
          onKeyDown={(event) => {
            // Fields for times keep Enter to themselves in some browsers.
            if (event.key !== "Enter" || !(event.target instanceof HTMLInputElement)) return;
            event.preventDefault();
            event.currentTarget.requestSubmit();
          }}
        >
          <label>
            From <input type="datetime-local" name="from" step="1" required value={toField(shown.from)} />
          </label>
          <label>
            To <input type="datetime-local" name="to" step="1" required value={toField(shown.to)} />
          </label>
          <button type="submit">Show</button>
        </form>
        {wrong ? (
          <p role="alert" class="trouble">
            {wrong}
          </p>
        ) : null}
        <p class="quiet">Kept since {moment(from)}. The list is as it was at the end of the span.</p>
      </div>
    </div>
  );
}

const STEPS: [string, string, number][] = [
  ["−10 min", "ten minutes earlier", -600_000],
  ["−1 min", "one minute earlier", -60_000],
  ["+1 min", "one minute later", 60_000],
  ["+10 min", "ten minutes later", 600_000],
];

/** Says that this is not now. */
export function PastBanner() {
  const { past } = ui;
  if (!past) return null;
  const move = (by: number) => {
    const to = Math.min(past.to + by, Date.now());
    look({ from: to - (past.to - past.from), to });
  };
  return (
    <section class="past" aria-label="The past">
      <p role="status">
        <strong>You look at the past:</strong> <time dateTime={new Date(past.to).toISOString()}>{moment(past.to)}</time>
        <span class="quiet">
          {" "}
          and the {span(past.to - past.from)} before
          {state.connection === "failed" ? ` · ${state.trouble}` : ""}
        </span>
      </p>
      <div class="steps">
        {STEPS.map(([text, about, by]) => (
          <button key={text} type="button" aria-label={`${text}: ${about}`} onClick={() => move(by)}>
            {text}
          </button>
        ))}
        <button type="button" class="live" onClick={() => look(null)}>
          Back to live
        </button>
      </div>
    </section>
  );
}
