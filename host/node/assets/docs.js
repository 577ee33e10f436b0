// Shows /api/v1/openapi.json as a page to read: operations by group, their parameters and shapes, and a curl line.
//
// Knows OpenAPI 3.0 and 3.1 as far as a host describes itself with them. References are followed where they stand;
// a shape that contains itself, or lies deeper than MAX_DEPTH, is named instead of opened.

import { $, copyButton, el } from "/assets/page.js";

const METHODS = ["get", "head", "post", "put", "patch", "delete", "options"];
const MAX_DEPTH = 6;

let api = {};

try {
  const response = await fetch("/api/v1/openapi.json", { credentials: "same-origin" });
  if (!response.ok) throw new Error(`The host answered ${response.status}.`);
  api = await response.json();
  drawPage();
} catch (reason) {
  $("intro").replaceChildren(
    el(
      "div",
      { class: "problem", role: "alert" },
      el("strong", {}, "The description could not be read"),
      reason.message,
    ),
  );
}

function drawPage() {
  $("title").replaceChildren(
    api.info?.title ? `${api.info.title} API` : "API",
    el("small", {}, api.info?.version ?? ""),
  );
  const token =
    "In the examples `$TOKEN` stands for the text in `admin.token`, which lies in the data folder of the host.";
  const guarded = api.security?.length || api.components?.securitySchemes;
  $("intro").replaceChildren(...paragraphs(api.info?.description), ...(guarded ? paragraphs(token) : []));
  const groups = grouped();
  $("groups").replaceChildren(
    ...[...groups].map(([tag, operations]) =>
      el("li", {}, el("a", { href: `#${slug(tag)}` }, tag, el("span", { class: "quiet" }, String(operations.length)))),
    ),
  );
  $("operations").replaceChildren(...[...groups].map(([tag, operations]) => drawGroup(tag, operations)));
  openNamed();
}

/** Operations by their first tag, in the order the document declares the tags. */
function grouped() {
  const groups = new Map((api.tags ?? []).map((tag) => [tag.name, []]));
  for (const [path, item] of Object.entries(api.paths ?? {})) {
    for (const method of METHODS.filter((name) => item[name])) {
      const operation = item[method];
      const tag = operation.tags?.[0] ?? "host";
      if (!groups.has(tag)) groups.set(tag, []);
      const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(resolve);
      const own = new Map(parameters.map((parameter) => [`${parameter.in} ${parameter.name}`, parameter]));
      groups.get(tag).push({ ...operation, method, path: prefix() + path, parameters: [...own.values()] });
    }
  }
  for (const [tag, operations] of groups) if (!operations.length) groups.delete(tag);
  return groups;
}

function prefix() {
  const server = api.servers?.[0]?.url ?? "";
  return server.startsWith("/") && server !== "/" ? server.replace(/\/$/, "") : "";
}

function drawGroup(tag, operations) {
  const about = api.tags?.find((known) => known.name === tag)?.description;
  return el(
    "section",
    { class: "group", id: slug(tag) },
    el("h2", {}, tag),
    about ? el("p", {}, about) : "",
    ...operations.map(drawOperation),
  );
}

/** The body is built when it is first opened: a large document stays quick. */
function drawOperation(operation) {
  const id = slug(operation.operationId ?? `${operation.method}-${operation.path}`);
  const node = el(
    "details",
    { class: "operation", id },
    el(
      "summary",
      {},
      el("span", { class: `method ${operation.method}` }, operation.method.toUpperCase()),
      el("code", {}, operation.path),
      el("span", {}, operation.summary ?? ""),
    ),
  );
  node.dataset.words = [
    operation.method,
    operation.path,
    operation.summary,
    operation.description,
    operation.operationId,
  ]
    .join(" ")
    .toLowerCase();
  node.addEventListener("toggle", () => {
    if (node.open && node.children.length === 1) node.append(drawBody(operation));
    if (node.open && location.hash !== `#${id}`) history.replaceState(null, "", `#${id}`);
  });
  return node;
}

function drawBody(operation) {
  const parts = [];
  if (operation.deprecated) parts.push(el("p", { class: "must" }, "Deprecated."));
  parts.push(...paragraphs(operation.description));
  if (operation.parameters.length) parts.push(part("Parameters", "", drawParameters(operation.parameters)));
  const body = resolve(operation.requestBody);
  for (const [type, content] of Object.entries(body?.content ?? {})) {
    parts.push(part("Body", type + (body.required === false ? ", optional" : ""), drawShape(content.schema)));
  }
  parts.push(part("Try it", "", drawCurl(curl(operation))));
  parts.push(part("Answers", "", drawResponses(operation.responses ?? {})));
  return el("div", { class: "body" }, ...parts);
}

function part(title, note, ...children) {
  return el("section", {}, el("h3", {}, title, el("small", {}, note)), ...children);
}

function drawParameters(parameters) {
  return el(
    "ul",
    { class: "shape" },
    ...parameters.map((parameter) =>
      el(
        "li",
        {},
        el("code", {}, parameter.name),
        el("span", { class: "type" }, `${typeName(parameter.schema)}, in ${parameter.in}`),
        parameter.required ? el("span", { class: "must" }, "required") : "",
        ...paragraphs(parameter.description),
        choices(parameter.schema),
      ),
    ),
  );
}

function drawResponses(responses) {
  return el(
    "ul",
    { class: "shape" },
    ...Object.entries(responses).map(([status, told]) => {
      const response = resolve(told);
      const contents = Object.entries(response.content ?? {});
      return el(
        "li",
        {},
        el("span", { class: `status s${status[0]}` }, status),
        response.description ?? "",
        ...contents.map(([type, content]) =>
          hasParts(content.schema)
            ? el("details", {}, el("summary", {}, `${typeName(content.schema)}, ${type}`), drawShape(content.schema))
            : el("p", {}, `${content.schema ? `${typeName(content.schema)}, ` : ""}${type}`),
        ),
      );
    }),
  );
}

// Shapes

function resolve(node) {
  for (let steps = 0; node?.$ref && steps < MAX_DEPTH; steps++) {
    node = node.$ref
      .replace(/^#\//, "")
      .split("/")
      .reduce((at, key) => at?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], api);
  }
  return node;
}

/** The schema as it is used: references followed, `allOf` joined, a lone alternative to null unwrapped. */
function settle(schema) {
  const plain = resolve(schema) ?? {};
  const options = plain.oneOf ?? plain.anyOf;
  const real = options?.filter((option) => resolve(option)?.type !== "null");
  if (options && real.length === 1)
    return { ...settle(real[0]), nullable: true, description: plain.description ?? resolve(real[0])?.description };
  if (!plain.allOf) return plain;
  const whole = { ...plain, properties: { ...plain.properties }, required: [...(plain.required ?? [])] };
  for (const piece of plain.allOf.map(settle)) {
    Object.assign(whole.properties, piece.properties);
    whole.required.push(...(piece.required ?? []));
    whole.type ??= piece.type;
    whole.enum ??= piece.enum;
    whole.description ??= piece.description;
  }
  if (!Object.keys(whole.properties).length) delete whole.properties;
  return whole;
}

function typeName(schema) {
  if (!schema) return "anything";
  const name = schema.$ref?.split("/").at(-1);
  const plain = settle(schema);
  const types = [plain.type ?? []].flat().filter((type) => type !== "null");
  const nullable = plain.nullable || [plain.type].flat().includes("null");
  const real = (schema.oneOf ?? schema.anyOf)?.filter((option) => resolve(option)?.type !== "null");
  let text = name ?? (real?.length === 1 && !types.includes("array") ? typeName(real[0]) : null);
  if (!text && types.includes("array")) text = `list of ${typeName(plain.items)}`;
  if (!text && (plain.oneOf ?? plain.anyOf)) text = (plain.oneOf ?? plain.anyOf).map(typeName).join(" | ");
  if (!text && plain.additionalProperties && !plain.properties)
    text = `map of ${typeName(plain.additionalProperties === true ? null : plain.additionalProperties)}`;
  text ??= types.join(" | ") || (plain.properties ? "object" : "anything");
  if (plain.format && !name) text += ` (${plain.format})`;
  return nullable && !text.endsWith("or null") ? `${text} or null` : text;
}

function hasParts(schema) {
  const plain = settle(schema);
  return Boolean(
    plain.properties || plain.enum || plain.oneOf || plain.anyOf || (plain.items && hasParts(plain.items)),
  );
}

function drawShape(schema, above = []) {
  const plain = settle(schema);
  if (plain.items) return drawShape(plain.items, above);
  const options = plain.oneOf ?? plain.anyOf;
  if (options && !plain.properties) {
    return el(
      "ul",
      { class: "shape" },
      ...options.map((option) => el("li", {}, el("span", {}, typeName(option)), inner(option, above))),
    );
  }
  if (!plain.properties)
    return el(
      "div",
      { class: "shape" },
      el("span", {}, typeName(schema)),
      ...paragraphs(plain.description),
      choices(plain),
    );
  return el(
    "ul",
    { class: "shape" },
    ...Object.entries(plain.properties).map(([name, property]) => {
      const settled = settle(property);
      return el(
        "li",
        {},
        el("code", {}, name),
        el("span", { class: "type" }, typeName(property)),
        plain.required?.includes(name) ? el("span", { class: "must" }, "required") : "",
        ...paragraphs(property.description ?? settled.description),
        choices(settled),
        inner(property, [...above, schema.$ref]),
      );
    }),
  );
}

/** A nested shape, unless it is its own ancestor or too deep to be read. */
function inner(schema, above) {
  const plain = settle(schema);
  const target =
    plain.items ?? (typeof plain.additionalProperties === "object" ? plain.additionalProperties : null) ?? schema;
  const real = (target.oneOf ?? target.anyOf)?.filter((option) => resolve(option)?.type !== "null");
  const named = target.$ref ?? (real?.length === 1 ? real[0].$ref : undefined);
  if (!settle(target).properties || above.length >= MAX_DEPTH || (named && above.includes(named))) return "";
  return drawShape(named ? { $ref: named } : target, above);
}

function choices(schema) {
  const values = settle(schema).enum;
  return values
    ? el("p", {}, "One of ", ...values.flatMap((value, index) => [index ? ", " : "", el("code", {}, String(value))]))
    : "";
}

// The request as a line for a shell

const METHOD_FLAGS = { get: "", head: " -I" };

function curl(operation) {
  const query = operation.parameters.filter((parameter) => parameter.in === "query" && parameter.required);
  const path =
    operation.path +
    (query.length ? `?${query.map((parameter) => `${parameter.name}={${parameter.name}}`).join("&")}` : "");
  const lines = [
    `curl${METHOD_FLAGS[operation.method] ?? ` -X ${operation.method.toUpperCase()}`} ${shell(location.origin + path)}`,
  ];
  const guarded = (operation.security ?? api.security ?? []).length > 0;
  if (guarded) lines.push(`-H "Authorization: Bearer $TOKEN"`);
  const [type, content] = Object.entries(resolve(operation.requestBody)?.content ?? {})[0] ?? [];
  if (type) lines.push(`-H ${shell(`Content-Type: ${type}`)}`);
  if (type?.includes("json")) {
    const example = content.example ?? Object.values(content.examples ?? {})[0]?.value ?? sample(content.schema);
    lines.push(`-d ${shell(JSON.stringify(example))}`);
  } else if (type) {
    lines.push("--data-binary @file");
  }
  return lines.join(" \\\n  ");
}

function shell(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A small value of this shape: what is required, or everything when nothing is. */
function sample(schema, depth = 0) {
  const plain = settle(schema);
  if (plain.example !== undefined) return plain.example;
  if (plain.examples?.length) return plain.examples[0];
  if (plain.default !== undefined) return plain.default;
  if (plain.enum) return plain.enum[0];
  const type = [plain.type ?? (plain.properties ? "object" : "string")].flat().find((name) => name !== "null");
  if (depth > MAX_DEPTH) return null;
  if (type === "object") {
    const names = plain.required?.length ? plain.required : Object.keys(plain.properties ?? {});
    return Object.fromEntries(names.map((name) => [name, sample(plain.properties?.[name], depth + 1)]));
  }
  if (type === "array") return plain.items ? [sample(plain.items, depth + 1)] : [];
  if (type === "integer" || type === "number") return plain.minimum ?? 0;
  return type === "boolean" ? true : plain.format === "uri" ? "https://example.org/" : "…";
}

function drawCurl(text) {
  const code = el("pre", { tabindex: "0" }, text);
  return el("div", { class: "curl" }, code, copyButton(text, code));
}

// Finding

$("filter").addEventListener("input", () => {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const group of document.querySelectorAll(".group")) {
    let here = 0;
    for (const operation of group.querySelectorAll(".operation")) {
      operation.hidden = !words.every((word) => operation.dataset.words.includes(word));
      here += operation.hidden ? 0 : 1;
    }
    group.hidden = here === 0;
    found += here;
  }
  $("nothing").hidden = found > 0;
});

addEventListener("hashchange", openNamed);

function openNamed() {
  const node = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!node) return;
  if (node.tagName === "DETAILS") node.open = true;
  node.scrollIntoView();
}

// Small pieces

function paragraphs(text) {
  return (text ?? "")
    .split(/\n\s*\n/)
    .filter((piece) => piece.trim())
    .map((piece) =>
      el(
        "p",
        {},
        ...piece
          .trim()
          .split(/`([^`]+)`/)
          .map((bit, index) => (index % 2 ? el("code", {}, bit) : bit)),
      ),
    );
}

function slug(text) {
  return text
    .toLowerCase()
    .replace(/[^a-z0-9_]+/g, "-")
    .replace(/^-|-$/g, "");
}
