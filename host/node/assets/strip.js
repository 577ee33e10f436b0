// The live picture of a file, from its first byte to its last.
//
// Above the bar is the viewer, in it the cache, under it the index ranges and whoever reads. Where a moment lies in the
// file is reckoned as if every second had the same size: near enough for a picture, and said as "near".

import { fit, ink } from "/assets/draw.js";
import { $, el } from "/assets/page.js";
import { bytes, duration } from "/assets/words.js";

const LABEL_EVERY_MS = 5_000;
const player = $("player");
const reduceMotion = matchMedia("(prefers-reduced-motion: reduce)");

export const strip = {
  box: $("strip"),
  canvas: $("strip").querySelector("canvas"),
  tip: $("strip-tip"),
  session: null,
  stats: null,
  cells: [],
  litAt: [],
  primed: false,
  frame: 0,
  pointer: null,
  BAR_TOP: 20,
  BAR_HEIGHT: 40,
  CELL: 5,
  GLOW_MS: 700,

  /** Begins anew with this session. */
  reset(session) {
    this.session = session;
    this.stats = null;
    this.cells = [];
    this.litAt = [];
    this.primed = false;
    this.pointer = null;
    this.draw();
  },

  take(stats) {
    this.stats = stats;
    this.draw();
  },

  get length() {
    return this.stats?.length ?? this.session?.length ?? 0;
  },

  seconds() {
    return Number.isFinite(player.duration) && player.duration > 0
      ? player.duration
      : (this.session?.duration_ms ?? 0) / 1000;
  },

  /** At most one drawing per frame, however many reasons there are. */
  draw() {
    this.frame ||= requestAnimationFrame((now) => {
      this.frame = 0;
      this.paint(now);
    });
  },

  paint(now) {
    const { context, width } = fit(this.canvas);
    const moving = this.paintBar(context, width, now);
    if (this.length) {
      this.paintIndex(context, width);
      this.paintReaders(context, width);
      this.paintViewer(context, width);
    }
    this.showTip(width);
    this.box.classList.toggle("seekable", this.seconds() > 0 && player.readyState > 0);
    if (moving && !reduceMotion.matches && !document.hidden) this.draw();
  },

  /** Returns whether something is still glowing or arriving. */
  paintBar(context, width, now) {
    const many = Math.max(1, Math.floor(width / this.CELL));
    const cells = resample(this.stats?.picture?.buckets ?? [], many);
    // What was kept before we looked, or before a resize, did not just arrive.
    const known = this.cells.length === many && this.primed;
    this.primed = this.stats !== null;
    const colours = { well: ink("--well"), kept: ink("--kept"), flying: ink("--flying") };
    const pulse = reduceMotion.matches ? 1 : 0.62 + 0.38 * Math.sin(now / 190);
    let moving = false;
    for (let index = 0; index < many; index++) {
      const { present, flying } = cells[index];
      const left = Math.round((index * width) / many);
      const wide = Math.max(1, Math.round(((index + 1) * width) / many) - left - 1);
      if (known && present > this.cells[index].present) this.litAt[index] = now;
      const glow = 1 - Math.min(1, (now - (this.litAt[index] ?? -Infinity)) / this.GLOW_MS);
      const high = present > 0 ? Math.max(3, Math.round(this.BAR_HEIGHT * present)) : 0;
      this.cell(context, left, wide, this.BAR_HEIGHT, colours.well, 1);
      // What is kept rises inside what is still arriving.
      if (flying) this.cell(context, left, wide, this.BAR_HEIGHT, colours.flying, pulse);
      this.cell(context, left, wide, high, colours.kept, 1);
      if (glow > 0) this.cell(context, left, wide, high, colours.flying, glow * glow);
      moving ||= flying || glow > 0;
    }
    if (!known) this.litAt = [];
    this.cells = cells;
    return moving;
  },

  cell(context, left, wide, high, colour, strength) {
    context.globalAlpha = strength;
    context.fillStyle = colour;
    context.fillRect(left, this.BAR_TOP + this.BAR_HEIGHT - high, wide, high);
    context.globalAlpha = 1;
  },

  marks(width) {
    return (this.stats?.picture?.first ?? []).map((range) => {
      const left = (range.offset / this.length) * width;
      const wide = Math.max(4, (range.length / this.length) * width);
      return { ...range, left: Math.max(0, Math.min(left, width - wide)), wide };
    });
  },

  paintIndex(context, width) {
    const under = this.BAR_TOP + this.BAR_HEIGHT + 3;
    context.fillStyle = ink("--index");
    context.font = `11px ${ink("--sans")}`;
    context.textBaseline = "top";
    let free = -Infinity;
    for (const mark of this.marks(width).sort((a, b) => a.left - b.left)) {
      context.fillRect(Math.round(mark.left), under, Math.round(mark.wide), 3);
      const text = mark.what ?? "";
      const wide = context.measureText(text).width;
      const left = Math.max(0, Math.min(mark.left, width - wide));
      if (left > free) {
        context.fillText(text, Math.round(left), under + 15);
        free = left + wide + 8;
      }
    }
  },

  paintReaders(context, width) {
    const top = this.BAR_TOP + this.BAR_HEIGHT + 7;
    context.fillStyle = ink("--reader");
    for (const reader of this.stats?.picture?.readers ?? []) {
      const at = this.across(reader.position, width);
      triangle(context, at, top, 5, 7);
      // A reader that wants everything to the end says nothing by its end.
      if (reader.end && reader.end < this.length) {
        context.globalAlpha = 0.4;
        context.fillRect(at, top + 6, Math.max(0, this.across(reader.end, width) - at), 1);
        context.globalAlpha = 1;
      }
    }
  },

  paintViewer(context, width) {
    const seconds = this.seconds();
    if (!seconds || player.readyState === 0) return;
    context.fillStyle = ink("--reader");
    context.globalAlpha = 0.4;
    for (let index = 0; index < player.buffered.length; index++) {
      const from = (player.buffered.start(index) / seconds) * width;
      const to = (player.buffered.end(index) / seconds) * width;
      context.fillRect(Math.round(from), this.BAR_TOP - 5, Math.max(1, Math.round(to - from)), 2);
    }
    context.globalAlpha = 1;
    const at = Math.min(width - 1, Math.round((player.currentTime / seconds) * width));
    triangle(context, Math.max(5, Math.min(width - 5, at)), this.BAR_TOP - 7, 6, -9);
    context.fillRect(at, this.BAR_TOP - 8, 1.5, this.BAR_HEIGHT + 8);
  },

  across(position, width) {
    return Math.max(5, Math.min(width - 5, Math.round((position / this.length) * width)));
  },

  showTip(width) {
    const show = this.pointer !== null && this.length > 0;
    this.tip.hidden = !show;
    if (!show) return;
    const share = Math.max(0, Math.min(1, this.pointer / width));
    const mark = this.marks(width).find(
      (range) => this.pointer >= range.left - 4 && this.pointer <= range.left + range.wide + 4,
    );
    const cell = this.cells[Math.min(this.cells.length - 1, Math.floor(share * this.cells.length))];
    const state = cell?.flying
      ? "arriving"
      : cell?.present >= 1
        ? "kept"
        : cell?.present > 0
          ? `${Math.floor(cell.present * 100)} % kept`
          : "not here yet";
    const head = mark ? `${mark.what}, ${bytes(mark.length)}` : state;
    const time = this.seconds() && !mark ? `near ${duration(share * this.seconds() * 1000)}` : null;
    const place = [`at ${bytes(share * this.length)}`, time].filter(Boolean);
    this.tip.replaceChildren(el("b", {}, head), place.join(" · "));
    const half = this.tip.offsetWidth / 2;
    this.tip.style.left = `${Math.max(half, Math.min(width - half, this.pointer))}px`;
  },
};

strip.box.addEventListener("pointermove", (event) => {
  strip.pointer = event.clientX - strip.canvas.getBoundingClientRect().left;
  strip.draw();
});
strip.box.addEventListener("pointerleave", () => {
  strip.pointer = null;
  strip.draw();
});
// A convenience for the mouse; the player's own controls are the keyboard's way.
strip.canvas.addEventListener("click", (event) => {
  const { left, width } = strip.canvas.getBoundingClientRect();
  if (player.readyState > 0 && strip.seconds()) player.currentTime = ((event.clientX - left) / width) * strip.seconds();
});
setInterval(() => {
  if (!strip.stats || document.hidden || !strip.length) return;
  const share = Math.floor(((strip.stats.cached_bytes ?? 0) / strip.length) * 100);
  strip.canvas.setAttribute(
    "aria-label",
    `${share} percent of the file is kept; ${strip.stats.picture?.readers?.length ?? 0} readers`,
  );
}, LABEL_EVERY_MS);

/** The host's buckets as `many` cells: presence averaged by overlap, arrival if any part arrives. */
function resample(buckets, many) {
  return Array.from({ length: many }, (_, index) => {
    const from = (index * buckets.length) / many;
    const to = ((index + 1) * buckets.length) / many;
    let present = 0;
    let flying = false;
    for (let at = Math.floor(from); at < to && at < buckets.length; at++) {
      const overlap = Math.min(to, at + 1) - Math.max(from, at);
      present += (buckets[at].present ?? 0) * overlap;
      flying ||= Boolean(buckets[at].in_flight) && overlap > 0;
    }
    const share = to > from ? present / (to - from) : 0;
    return { present: share > 0.999 ? 1 : share, flying };
  });
}

/** Points down when `high` is negative. */
function triangle(context, at, top, half, high) {
  context.beginPath();
  context.moveTo(at, top);
  context.lineTo(at - half, top + high);
  context.lineTo(at + half, top + high);
  context.fill();
}
