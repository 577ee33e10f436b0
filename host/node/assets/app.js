// The page of the host: opens sessions, plays them, and shows what the cache is doing while they play.
//
// Talks to /api/v1 with the cookie of a sign-in link and to nothing else. Owns no truth: whatever it shows can be
// asked again, so every event only says "look again", and a lost connection costs a redraw.
//
// Read downwards: opening a link, the session on the screen, the player, statistics, lists, the start.

import { forgetInks, ink, sparkline } from "/assets/draw.js";
import { ask, every, follow, news, Problem } from "/assets/host.js";
import { $, button, copyLine, el } from "/assets/page.js";
import { strip } from "/assets/strip.js";
import {
  ago,
  BROWSER_TYPES,
  bytes,
  capital,
  channels,
  codecName,
  count,
  duration,
  formatName,
  frames,
  hostOf,
  language,
  moment,
  nameOf,
  rate,
} from "/assets/words.js";

const POLL_MS = 500;
const LIST_POLL_MS = 5_000;
const SIGN_IN_POLL_MS = 3_000;
/** How long a delete button waits for its second press. */
const SURE_MS = 3_000;
/** Two samples a second: one minute of graph. */
const SAMPLES = 120;
const MAX_HEADERS = 64;

const player = $("player");
const reduceMotion = matchMedia("(prefers-reduced-motion: reduce)");

/** The session on the screen: its record, its last statistics, and how to stop following it. */
let current = null;

// Opening a link

$("open").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const url = form.url.value.trim();
    if (!url) throw new Problem("There is no link yet", "Paste the address of a video or audio file.");
    const session = await ask("POST", "sessions", withHeaders({ url }, form.headers.value));
    showProblem($("open-problem"), null);
    form.reset();
    form.querySelector("details").open = false;
    enter(session);
  } catch (problem) {
    showProblem($("open-problem"), problem);
    form.url.focus();
  } finally {
    button.disabled = false;
  }
});

$("open").addEventListener("input", () => showProblem($("open-problem"), null));

// A link pasted or dropped anywhere lands in the field; Enter stays the visitor's.
document.addEventListener("paste", (event) => {
  if (event.target.closest?.("input, textarea")) return;
  offerLink(event.clipboardData?.getData("text"), event);
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => offerLink(event.dataTransfer?.getData("text"), event));
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, video");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    $("open-url").focus();
  }
});

function offerLink(text, event) {
  event.preventDefault();
  if (!text?.trim()) return;
  $("open-url").value = text.trim().split(/\s/)[0];
  $("open-url").focus();
}

/** Adds `headers` to a request body when the text names any. */
function withHeaders(body, text) {
  const lines = text.split("\n").filter((line) => line.trim());
  if (lines.length > MAX_HEADERS) throw new Problem("Too many headers", `At most ${MAX_HEADERS} can be sent.`);
  const headers = {};
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).trim();
    if (colon < 1 || !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) {
      throw new Problem("A header cannot be read", `“${line.trim()}” is not of the form Name: value.`);
    }
    headers[name] = line.slice(colon + 1).trim();
  }
  return lines.length ? { ...body, headers } : body;
}

function showProblem(box, problem) {
  box.hidden = !problem;
  box.replaceChildren(...(problem ? [el("strong", {}, problem.title), problem.detail ?? ""] : []));
}

// The session on the screen

/** The address bar names the session, so that reload, back and a bookmark all work. */
function enter(session) {
  const hash = `#s/${encodeURIComponent(session.session_id)}`;
  if (location.hash !== hash) history.pushState(null, "", hash);
  show(session);
}

addEventListener("popstate", route);

async function route() {
  const id = /^#s\/(.+)$/.exec(location.hash)?.[1];
  if (!id) return leave();
  if (id === current?.session.session_id) return;
  try {
    show(await ask("GET", `sessions/${id}`));
  } catch (problem) {
    leave();
    if (problem.status !== 401) showProblem($("open-problem"), problem);
  }
}

function leave() {
  stopCurrent();
  document.body.classList.remove("playing");
  $("session").hidden = true;
  document.title = "mediahost";
  listSessions();
}

/** Leaves the session but not its place in the list. */
function goHome() {
  if (location.hash) history.pushState(null, "", location.pathname);
  leave();
}

function stopCurrent() {
  current?.stop();
  current = null;
  player.removeAttribute("src");
  player.load();
}

function show(session) {
  stopCurrent();
  document.body.classList.add("playing");
  $("session").hidden = false;
  const stopping = new AbortController();
  current = {
    session,
    stats: null,
    trouble: null,
    signal: stopping.signal,
    stop: () => stopping.abort(),
  };
  strip.reset(session);
  meters.reset();
  drawSession();
  followSession(current);
  listSessions();
  if (scrollY > 0) scrollTo({ top: 0, behavior: reduceMotion.matches ? "auto" : "smooth" });
}

/** Statistics by asking, changes of state by event; each covers for the other. */
function followSession(mine) {
  const path = `sessions/${encodeURIComponent(mine.session.session_id)}`;
  const again = async () => {
    try {
      const session = await ask("GET", path, undefined, mine.signal);
      if (mine === current) takeSession(session);
    } catch (problem) {
      if (mine === current && problem.status === 404) takeSession({ ...mine.session, state: "closed" });
    }
  };
  every(
    POLL_MS,
    mine.signal,
    async () => {
      if (mine.stats && over(mine.session)) return;
      const stats = await ask("GET", `${path}/stats`, undefined, mine.signal);
      if (mine !== current) return;
      mine.stats = stats;
      drawStats(stats);
      if (stats.state !== mine.session.state) await again();
    },
    (problem) => problem.status === 404 && again(),
  );
  const events = Object.fromEntries(["ready", "auth-required", "failed", "closed", "phase"].map((name) => [name, again]));
  follow(`/api/v1/${path}/events`, events, again, mine.signal);
}

/** Nothing more will happen to this session. */
function over(session) {
  return session.state === "closed" || session.state === "failed";
}

function takeSession(session) {
  const before = current.session;
  if (JSON.stringify(before) === JSON.stringify(session)) return;
  current.session = session;
  strip.session = session;
  if (before.state !== session.state) {
    if (session.state === "ready") current.trouble = null;
    listSessions();
  }
  drawSession();
}

function drawSession() {
  const { session } = current;
  const name = nameOf(session);
  document.title = `${name} – mediahost`;
  $("session-name").textContent = name;
  $("session-line").replaceChildren(
    stateMark(session.state),
    ...[
      session.live && "live",
      session.length && bytes(session.length),
      duration(session.duration_ms),
      session.phase === "complete" && "all of it is here",
      hostOf(session.url),
    ]
      .filter(Boolean)
      .map((text) => el("span", {}, text)),
  );
  drawFacts(session);
  drawTitles(session);
  drawElsewhere(session);
  drawScreen();
}

function drawFacts(session) {
  const took = session.ready_at && session.created_at && session.ready_at - session.created_at;
  const facts = [
    ["Format", formatName(session)],
    ["Bit rate", session.bit_rate && rate(session.bit_rate).join(" ")],
    [
      "Ready after",
      took >= 0 && session.ready_at ? (took < 10_000 ? `${count(took)} ms` : `${count(took / 1000)} s`) : null,
    ],
    ["Open until", !over(session) && session.expires_at && moment(session.expires_at)],
  ];
  $("facts").replaceChildren(
    ...facts.filter(([, value]) => value).flatMap(([key, value]) => [el("dt", {}, key), el("dd", {}, value)]),
  );
  const tracks = session.tracks ?? [];
  $("tracks").replaceChildren(
    ...(tracks.length ? [el("h3", {}, "Tracks"), el("ul", {}, ...tracks.map(trackRow))] : []),
  );
}

/** What else is in a disc image or an archive. Another title plays in the same session. */
function drawTitles(session) {
  const titles = session.titles ?? [];
  const playing = current.title?.id ?? session.title;
  const row = (title) => {
    const facts = [duration(title.duration_ms), bytes(title.length), title.main && "main"];
    const play = button(title.id === playing ? "Playing" : "Play", () => {
      current.title = title;
      player.removeAttribute("src");
      current.resumeAt = null;
      drawSession();
      loadPlayer();
      player.play().catch(() => {});
    });
    play.className = "bare";
    play.disabled = title.id === playing;
    play.setAttribute("aria-label", `Play ${title.name ?? title.id}`);
    return el(
      "li",
      {},
      el("div", {}, title.name ?? title.id, el("small", {}, facts.filter(Boolean).join(" · "))),
      play,
    );
  };
  $("titles").replaceChildren(
    ...(titles.length > 1 ? [el("h3", {}, "Titles"), el("ul", {}, ...titles.map(row))] : []),
  );
}

function trackRow(track) {
  const size = track.width && track.height ? `${track.width} × ${track.height}` : null;
  const facts = [
    size,
    frames(track.frame_rate),
    track.sample_rate && `${count(track.sample_rate / 1000)} kHz`,
    channels(track.channels),
    track.bit_rate && rate(track.bit_rate).join(" "),
  ];
  const head = [codecName(track.codec), language(track.language)].filter(Boolean).join(" · ");
  const mute = browserPlays(track) === false && el("small", { class: "mute" }, "not in this browser");
  return el(
    "li",
    {},
    el("span", {}, capital(track.kind)),
    el("div", {}, head, el("small", {}, facts.filter(Boolean).join(" · ")), mute || ""),
  );
}

function drawElsewhere(session) {
  const address = streamAddress(session);
  const key = address + session.state;
  if ($("elsewhere").dataset.key === key) return;
  $("elsewhere").dataset.key = key;
  $("elsewhere").replaceChildren(
    copyLine(address, "Copy the stream address"),
    copyLine(`mpv '${address}'`, "Copy the command"),
  );
}

/** What lies over the picture: nothing, a word while it opens, a question, or a reason. */
function drawScreen() {
  const { session, trouble } = current;
  const tracks = session.tracks ?? [];
  const silentPicture = tracks.length
    ? !tracks.some((track) => track.kind === "video")
    : /^audio\//.test(session.media_type ?? "");
  $("screen").classList.toggle("audio", silentPicture);
  player.setAttribute("aria-label", session.name || "Player");

  for (const part of document.querySelectorAll(".picture, .meters")) part.hidden = over(session);
  // A presentation is many files, of which there is no one picture.
  if (/^(hls|dash)$/.test(session.container ?? "")) document.querySelector(".picture").hidden = true;
  const kind = session.state === "ready" ? (trouble ? `trouble-${trouble}` : "none") : session.state;
  const talking = !["none", "opening"].includes(kind);
  $("screen").classList.toggle("talking", talking);
  player.controls = session.state === "ready";
  // The explanation shows the addresses itself, and a session that is over has none worth copying.
  $("elsewhere-part").hidden = talking;
  if (talking || session.state !== "ready") unloadPlayer();
  else loadPlayer();
  drawAdvice();

  const key = kind + (session.error?.message ?? "");
  if (current.cover === key) return;
  current.cover = key;
  $("cover").hidden = kind === "none";
  $("cover").replaceChildren(...covers(kind, session));
}

function covers(kind, session) {
  const why = session.error?.message;
  const address = streamAddress(session);
  const codes = [session.error?.code, session.error?.plugin].filter(Boolean);
  const code = codes.length ? el("p", { class: "code" }, codes.join(" · ")) : "";
  switch (kind) {
    case "opening":
      return [
        el("div", { class: "opening-mark", "aria-hidden": "true" }, ...Array.from({ length: 5 }, () => el("i"))),
        el("p", {}, `Asking ${hostOf(session.url) || "the site"} for the first bytes…`),
      ];
    case "auth-required":
      return [
        el("h3", {}, "The site wants to know who is asking"),
        el("p", {}, why || "The link has expired or needs a sign-in."),
        authForm(session),
      ];
    case "failed":
      return [
        el("h3", {}, "This could not be opened"),
        el("p", {}, why || "The host gave no reason."),
        code,
        session.url
          ? button("Put the link back in the field", () => {
              $("open-url").value = session.url;
              $("open-url").focus();
            })
          : "",
      ];
    case "closed":
      return [
        el("h3", {}, "This session is closed"),
        el("p", {}, "It was deleted or has expired. Paste the link again to open a new one."),
        button("Back to the start", goHome),
      ];
    case "trouble-format":
      return [
        el("h3", {}, `This browser cannot play ${formatName(session) || "this format"}`),
        el(
          "p",
          {},
          `${cannotPlay(session)} The stream itself is fine: open this address in VLC or mpv, seeking works there too.`,
        ),
        el("div", {}, copyLine(address, "Copy the stream address"), copyLine(`mpv '${address}'`, "Copy the command")),
        button("Try here again", retryPlayer),
      ];
    case "trouble-network":
      return [
        el("h3", {}, "The stream broke off"),
        el("p", {}, why || "The host stopped sending. What has arrived is kept."),
        button("Go on from here", retryPlayer),
      ];
    default:
      return [];
  }
}

function authForm(session) {
  const problem = el("div", { class: "problem", role: "alert", hidden: true });
  const url = el("input", {
    type: "text",
    inputmode: "url",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "https://…",
  });
  const headers = el("textarea", { rows: "2", spellcheck: "false", placeholder: "Cookie: …" });
  const form = el(
    "form",
    {},
    el("label", {}, "A fresh link to the same file", url),
    el("label", {}, "Headers, one per line", headers),
    problem,
    el("button", { class: "strong" }, "Go on"),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const fresh = url.value.trim();
      const body = withHeaders(fresh ? { url: fresh } : {}, headers.value);
      if (!Object.keys(body).length) throw new Problem("Nothing new yet", "Give a fresh link, headers, or both.");
      const id = encodeURIComponent(session.session_id);
      await ask("PUT", `sessions/${id}/auth`, body);
      const renewed = await ask("GET", `sessions/${id}`);
      if (current?.session.session_id === session.session_id) takeSession(renewed);
    } catch (reason) {
      showProblem(problem, reason);
    }
  });
  return form;
}

// The player

function loadPlayer() {
  if (player.hasAttribute("src")) return;
  player.src = streamAddress(current.session);
  const { resumeAt } = current;
  if (resumeAt)
    player.addEventListener(
      "loadedmetadata",
      () => {
        player.currentTime = resumeAt;
      },
      { once: true },
    );
  // Refused without a gesture: the controls are there for that.
  player.play().catch(() => {});
}

function unloadPlayer() {
  if (!player.hasAttribute("src")) return;
  current.resumeAt = player.currentTime || current.resumeAt;
  player.removeAttribute("src");
  player.load();
}

function retryPlayer() {
  current.trouble = null;
  drawScreen();
}

player.addEventListener("error", () => {
  if (!current || !player.error || !player.hasAttribute("src")) return;
  const mine = current;
  const code = player.error.code;
  current.resumeAt = player.currentTime || current.resumeAt;
  // An upstream failure reaches the element as a format error: the session knows better, so it is asked first.
  ask("GET", `sessions/${encodeURIComponent(mine.session.session_id)}`).then(
    (session) => {
      if (mine !== current) return;
      mine.trouble = code === MediaError.MEDIA_ERR_NETWORK ? "network" : "format";
      takeSession(session);
      drawScreen();
    },
    () => {
      if (mine === current) {
        mine.trouble = "network";
        drawScreen();
      }
    },
  );
});

player.addEventListener("loadedmetadata", () => current && drawAdvice());
for (const name of ["timeupdate", "progress", "seeking", "seeked", "durationchange", "emptied"]) {
  player.addEventListener(name, () => strip.draw());
}

/** A quiet word when the browser plays only half of the file. */
function drawAdvice() {
  const { session } = current;
  const tracks = session.tracks ?? [];
  const deaf = tracks.filter((track) => track.kind === "audio");
  let text = "";
  if (player.readyState > 0 && player.videoWidth === 0 && tracks.some((track) => track.kind === "video")) {
    text = "The browser plays the sound but cannot decode this picture. VLC and mpv show both.";
  } else if (deaf.length && deaf.every((track) => browserPlays(track) === false)) {
    text = `The browser cannot decode ${codecName(deaf[0].codec)} sound, so this may stay silent. VLC and mpv play it.`;
  }
  $("advice").hidden = !text;
  if ($("advice").textContent !== text) $("advice").textContent = text;
}

function cannotPlay(session) {
  const missing = (session.tracks ?? [])
    .filter((track) => browserPlays(track) === false)
    .map((track) => codecName(track.codec));
  if (missing.length) return `It has no decoder for ${[...new Set(missing)].join(" or ")}.`;
  if (session.media_type && !player.canPlayType(session.media_type)) return "It does not open files of this kind.";
  return "It gave up while decoding it.";
}

/** True, false, or undefined when we do not know the codec. Subtitles are nobody's fault. */
function browserPlays(track) {
  if (track.kind !== "video" && track.kind !== "audio") return undefined;
  const codec = track.codec ?? "";
  const type =
    BROWSER_TYPES[codec.toLowerCase()] ?? (codec.includes(".") ? `${track.kind}/mp4; codecs="${codec}"` : undefined);
  return type === undefined ? undefined : type !== "" && player.canPlayType(type) !== "";
}

function streamAddress(session) {
  // An apostrophe is legal in a path, but the address is also shown inside a quoted shell command.
  const { playback_url } = current?.title ?? session;
  return new URL(playback_url, location.origin).href.replaceAll("'", "%27");
}

// Statistics

function drawStats(stats) {
  strip.take(stats);
  meters.take(stats);
  const length = stats.length ?? current.session.length;
  const { cached_bytes: kept = 0, upstream_bytes: fetched = 0, served_bytes: served = 0 } = stats;
  $("picture-line").textContent = length
    ? `${stats.complete ? "all" : bytes(kept)} of ${bytes(length)} kept · ${bytes(fetched)} fetched · ${bytes(served)} served`
    : `The site does not say how long it is · ${bytes(fetched)} fetched · ${bytes(served)} served`;
  if (stats.memory_bytes) {
    $("picture-line").textContent += ` · ${bytes(stats.memory_bytes)} in memory only, since the disk takes no more`;
  }
  const waiting = stats.waiting_for ? `Waiting for ${stats.waiting_for}` : "";
  if ($("waiting").textContent !== waiting) $("waiting").textContent = waiting;
}

const meters = {
  download: [],
  serve: [],
  reset() {
    this.download = [];
    this.serve = [];
    for (const id of ["download", "serve", "hits", "ahead"]) $(id).textContent = "–";
    for (const id of ["hits-note", "ahead-note", "picture-line", "waiting"]) $(id).textContent = "";
    this.draw();
  },
  take(stats) {
    for (const name of ["download", "serve"]) {
      this[name].push(stats[`${name}_bps`] ?? 0);
      if (this[name].length > SAMPLES) this[name].shift();
      figure($(name), ...rate(stats[`${name}_bps`] ?? 0));
    }
    const share = stats.served_bytes ? count(Math.floor(stats.cache_hit_rate * 100)) : null;
    figure($("hits"), share ?? "–", share && "%");
    const disk = stats.disk;
    const room = disk && disk.used_bytes + Math.max(0, (disk.free_bytes ?? 0) - disk.keep_free_bytes);
    const most = disk && Math.min(disk.quota_bytes ?? Infinity, room);
    $("hits-note").textContent = [
      share ? "of the bytes served were here before" : "nothing has been served yet",
      disk && `the cache has ${bytes(disk.used_bytes)} of ${bytes(most)}`,
    ]
      .filter(Boolean)
      .join("; ");
    figure($("ahead"), ...bytes(stats.buffered_bytes_ahead ?? 0).split(" "));
    const bitRate = current.session.bit_rate;
    const seconds = bitRate ? (stats.buffered_bytes_ahead * 8) / bitRate : null;
    const workers = stats.active_workers ?? 0;
    const mostWorkers = stats.upstream ? ` of ${stats.upstream.window}` : "";
    $("ahead-note").textContent = [
      seconds && `about ${duration(seconds * 1000)} of playing`,
      workers
        ? `${workers}${mostWorkers} ${workers === 1 && !mostWorkers ? "connection" : "connections"} to the site`
        : "no connection to the site",
    ]
      .filter(Boolean)
      .join(", ");
    this.draw();
  },
  draw() {
    sparkline($("download-graph"), this.download, SAMPLES, ink("--flying"));
    sparkline($("serve-graph"), this.serve, SAMPLES, ink("--kept"));
  },
};

function figure(output, value, unit) {
  output.replaceChildren(value, unit ? el("small", {}, unit) : "");
}

// Lists

async function listSessions() {
  try {
    const { sessions } = await ask("GET", "sessions");
    const rows = [...sessions].sort((a, b) => (b.created_at ?? 0) - (a.created_at ?? 0));
    $("no-sessions").hidden = rows.length > 0;
    patch(
      $("sessions"),
      rows,
      (session) => session.session_id,
      sessionRow,
      (session) =>
        JSON.stringify([session, session.session_id === current?.session.session_id, ago(session.created_at)]),
    );
  } catch {
    /* The trouble line says it. */
  }
}

function sessionRow(session) {
  const here = session.session_id === current?.session.session_id;
  const link = el(
    "a",
    { class: "name", href: `#s/${encodeURIComponent(session.session_id)}` },
    nameOf(session),
  );
  if (here) link.setAttribute("aria-current", "true");
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    if (!here) enter(session);
  });
  const facts = [
    formatName(session),
    duration(session.duration_ms),
    session.length && bytes(session.length),
    ago(session.created_at),
  ];
  return el(
    "li",
    { class: here ? "now" : "" },
    el(
      "div",
      { class: "what" },
      link,
      el(
        "div",
        { class: "under" },
        stateMark(session.state),
        ...facts.filter(Boolean).map((fact) => el("span", {}, fact)),
      ),
    ),
    deleteButton(session),
  );
}

/** Asks once more in place instead of in a dialog. */
function deleteButton(session) {
  const name = session.name || "this session";
  const node = button("Delete", async () => {
    if (!node.classList.contains("sure")) {
      node.classList.add("sure");
      node.textContent = "Delete now";
      node.setAttribute("aria-label", `Delete ${name} now`);
      setTimeout(() => {
        node.classList.remove("sure");
        node.textContent = "Delete";
        node.setAttribute("aria-label", `Delete ${name}`);
      }, SURE_MS);
      return;
    }
    node.disabled = true;
    try {
      await ask("DELETE", `sessions/${encodeURIComponent(session.session_id)}`);
      if (current?.session.session_id === session.session_id) goHome();
    } catch (problem) {
      if (problem.status !== 404) showProblem($("open-problem"), problem);
    }
    listSessions();
  });
  node.className = "bare";
  node.setAttribute("aria-label", `Delete ${name}`);
  return node;
}

const plugins = new Map();

async function listPlugins() {
  try {
    const answer = await ask("GET", "plugins");
    plugins.clear();
    for (const plugin of answer.plugins) plugins.set(plugin.id, plugin);
    drawPlugins();
  } catch {
    /* The trouble line says it. */
  }
}

function drawPlugins() {
  const order = ["media-source", "container-detector"];
  const rank = (plugin) => (order.indexOf(plugin.kind) + order.length + 1) % (order.length + 1);
  const rows = [...plugins.values()].sort((a, b) => rank(a) - rank(b) || a.id.localeCompare(b.id));
  $("no-plugins").hidden = rows.length > 0;
  patch($("plugins"), rows, (plugin) => plugin.id, pluginRow, JSON.stringify);
}

const seenGenerations = new Map();

function pluginRow(plugin) {
  const before = seenGenerations.get(plugin.id);
  seenGenerations.set(plugin.id, plugin.generation);
  const fresh = before !== undefined && before !== plugin.generation;
  const facts = [
    plugin.kind?.replace("-", " "),
    plugin.schemes?.length && plugin.schemes.map((scheme) => `${scheme}:`).join(" "),
    originName(plugin.origin),
  ];
  return el(
    "li",
    {},
    el(
      "div",
      { class: "what" },
      el("span", { class: "name" }, plugin.id),
      plugin.summary ? el("div", {}, plugin.summary) : "",
      el(
        "div",
        { class: "under" },
        stateMark(plugin.state),
        ...facts.filter(Boolean).map((fact) => el("span", {}, fact)),
      ),
    ),
    el(
      "div",
      { class: "side" },
      el("span", { class: `generation${fresh ? " new" : ""}` }, `generation ${plugin.generation}`),
      el("div", {}, plugin.version ?? ""),
      el("div", { class: "mono", title: `SHA-256 ${plugin.sha256 ?? ""}` }, plugin.sha256?.slice(0, 8) ?? ""),
    ),
    plugin.error ? el("p", { class: "why" }, plugin.error) : "",
  );
}

function originName(origin) {
  return { bundled: "came with the host", folder: "from the plugins folder", uploaded: "uploaded" }[origin] ?? origin;
}

/** Rebuilds only the rows that changed, so that focus and running animations survive. */
function patch(list, items, keyOf, build, printOf) {
  const old = new Map([...list.children].map((row) => [row.dataset.key, row]));
  const rows = items.map((item) => {
    const row = old.get(keyOf(item));
    const print = printOf(item);
    // A row that is about to be confirmed keeps its question.
    if (row && (row.print === print || row.querySelector(".sure"))) return row;
    const fresh = build(item);
    fresh.dataset.key = keyOf(item);
    fresh.print = print;
    return fresh;
  });
  if (rows.length === list.children.length && rows.every((row, index) => row === list.children[index])) return;
  const focus = list.contains(document.activeElement) && document.activeElement;
  const place = focus && [focus.closest("li")?.dataset.key, focus.tagName];
  list.replaceChildren(...rows);
  if (place && !document.contains(document.activeElement.closest("li"))) {
    rows
      .find((row) => row.dataset.key === place[0])
      ?.querySelector(place[1])
      ?.focus();
  }
}

/** The states that are not called by their own name. */
const STATE_NAMES = { "auth-required": "wants a new link", waiting: "waits to be enabled", disabled: "switched off" };

function stateMark(state) {
  return el("span", { class: `state ${state}` }, STATE_NAMES[state] ?? state);
}

// The start

const whole = new AbortController();

function start() {
  listPlugins();
  listSessions();
  route();
}

/** Waits for a sign-in link that is opened in another tab. */
function signedOut() {
  if (!$("signed-out").hidden) return;
  stopCurrent();
  $("app").hidden = true;
  $("signed-out").hidden = false;
  const back = setInterval(async () => {
    if (document.hidden) return;
    try {
      const response = await fetch("/api/v1/sessions", { credentials: "same-origin" });
      if (!response.ok) return;
      clearInterval(back);
      $("signed-out").hidden = true;
      $("app").hidden = false;
      start();
    } catch {
      /* Asked again at the next turn. */
    }
  }, SIGN_IN_POLL_MS);
}

function redraw() {
  forgetInks();
  strip.draw();
  meters.draw();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
new ResizeObserver(redraw).observe($("strip"));

news.addEventListener("silent", () => {
  $("host-trouble").hidden = false;
});
news.addEventListener("answers", () => {
  $("host-trouble").hidden = true;
});
news.addEventListener("signed-out", signedOut);
start();
every(LIST_POLL_MS, whole.signal, listSessions);
follow(
  "/api/v1/plugins/events",
  {
    plugin: (plugin) => {
      if (plugin?.id) {
        plugins.set(plugin.id, plugin);
        drawPlugins();
      }
    },
    removed: (gone) => {
      if (plugins.delete(gone?.id)) drawPlugins();
    },
  },
  listPlugins,
  whole.signal,
);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) redraw();
});
if (!location.hash) $("open-url").focus();
