// Drawing on canvases: sharp on every screen, in the colours of the style sheet.

/** Sizes a canvas to its box in device pixels, clears it, and lets the caller draw in CSS pixels. */
export function fit(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

let inks = new Map();

/** A colour or font of the style sheet, remembered until the colour scheme changes. */
export function ink(name) {
  if (!inks.has(name)) inks.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return inks.get(name);
}

/** The newest value is at the right edge; the width is room for `room` of them. */
export function sparkline(canvas, values, room, colour) {
  const { context, width, height } = fit(canvas);
  const base = height - 1;
  context.fillStyle = ink("--rule");
  context.fillRect(0, base, width, 1);
  if (values.length < 2) return;
  const top = Math.max(...values, 1);
  const x = (index) => width - ((values.length - 1 - index) / (room - 1)) * width;
  const y = (value) => base - (value / top) * (height - 4);
  context.beginPath();
  values.forEach((value, index) => context.lineTo(x(index), y(value)));
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.stroke();
  context.lineTo(x(values.length - 1), base);
  context.lineTo(x(0), base);
  context.fillStyle = colour;
  context.globalAlpha = 0.16;
  context.fill();
  context.globalAlpha = 1;
}

/** To be called when the colour scheme has changed. */
export function forgetInks() {
  inks = new Map();
}
