// Asking the host: requests, repeated questions, and events that come by themselves.
//
// Uses the cookie of a sign-in link. Leaves to the page what a silent host or a lost sign-in looks like: `news` tells
// it with `silent`, `answers` and `signed-out`. What repeats pauses while the page is hidden.

const RETRY_FIRST_MS = 1_000;
const RETRY_LAST_MS = 15_000;

export const news = new EventTarget();

function tell(what) {
  news.dispatchEvent(new Event(what));
}

/** What went wrong, in the words of the host (RFC 9457) or ours. */
export class Problem extends Error {
  constructor(title, detail, status = 0, code = null) {
    super(title);
    Object.assign(this, { title, detail, status, code });
  }
}

export async function ask(method, path, body, signal) {
  let response;
  try {
    response = await fetch(`/api/v1/${path}`, {
      method,
      signal,
      credentials: "same-origin",
      headers:
        body === undefined
          ? { accept: "application/json" }
          : { accept: "application/json", "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (reason) {
    if (reason.name !== "AbortError") tell("silent");
    throw new Problem("The host does not answer", "Is mediahost still running?");
  }
  tell("answers");
  if (response.ok) {
    if (response.status === 204) return null;
    return response.json().catch(() => null);
  }
  const told = await response.json().catch(() => ({}));
  if (response.status === 401) tell("signed-out");
  throw new Problem(
    told.title ?? `The host answered ${response.status}`,
    told.detail ?? "",
    response.status,
    told.code,
  );
}

/** Runs `work` every `period_ms` while the page is visible, never twice at once. */
export function every(period_ms, signal, work, failed = () => {}) {
  let timer = 0;
  let busy = false;
  const turn = async () => {
    clearTimeout(timer);
    if (signal.aborted || document.hidden || busy) return;
    busy = true;
    try {
      await work();
    } catch (problem) {
      if (!signal.aborted) failed(problem);
    }
    busy = false;
    if (!signal.aborted && !document.hidden) timer = setTimeout(turn, period_ms);
  };
  document.addEventListener("visibilitychange", turn, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  turn();
}

/** Follows server-sent events while the page is visible: a hidden tab must not hold one of the few connections a
    browser grants a host. `opened` runs after each connection, because events may have been missed before it. */
export function follow(url, handlers, opened, signal) {
  let source = null;
  let timer = 0;
  let wait_ms = RETRY_FIRST_MS;
  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const connect = () => {
    close();
    if (signal.aborted || document.hidden) return;
    source = new EventSource(url);
    source.onopen = () => {
      wait_ms = RETRY_FIRST_MS;
      opened();
    };
    source.onerror = () => {
      close();
      timer = setTimeout(connect, wait_ms);
      wait_ms = Math.min(wait_ms * 2, RETRY_LAST_MS);
    };
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handle(parseJson(event.data)));
    }
  };
  document.addEventListener("visibilitychange", connect, { signal });
  signal.addEventListener("abort", close);
  connect();
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
