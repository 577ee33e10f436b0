// The few pieces every page here is made of.

const COPIED_MS = 1_800;

export const $ = (id) => document.getElementById(id);

export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

export function button(text, act) {
  const node = el("button", { type: "button" }, text);
  node.addEventListener("click", act);
  return node;
}

export function copyLine(text, label) {
  const code = el("code", {}, text);
  const node = copyButton(text, code);
  node.className = "bare";
  node.setAttribute("aria-label", label);
  return el("div", { class: "copyline" }, code, node);
}

/** Copies `text`, which is what `shown` displays. */
export function copyButton(text, shown) {
  const node = button("Copy", async () => {
    node.textContent = (await copy(text, shown)) ? "Copied" : "Press Ctrl+C";
    setTimeout(() => {
      node.textContent = "Copy";
    }, COPIED_MS);
  });
  return node;
}

/** The clipboard exists only for pages from this machine or over HTTPS; elsewhere the text is at least selected. */
async function copy(text, node) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(node);
    return false;
  }
}
