// Decisions, newest first: a line each, which opens into the whole explanation.

import { clock, el, keyed, put } from "./dom.js";

const DEEPEST = 6;
const LONGEST = 100;

export function drawDecisions(host, decisions) {
  keyed(host, decisions, (decision) => decision.id, makeDecision, () => {});
  if (!decisions.length) host.dataset.empty = "No number of replicas has changed yet.";
  else delete host.dataset.empty;
}

export function openDecision(host, id) {
  const item = [...host.children].find((node) => node.dataset.key === id);
  if (!item) return;
  const details = item.firstElementChild;
  details.open = true;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  item.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
  details.firstElementChild.focus({ preventScroll: true });
}

function makeDecision(decision) {
  const change = el("span", { class: decision.to > decision.from ? "change up" : "change" });
  put(change, `${decision.from} → ${decision.to}`);
  const details = el("details", {},
    el("summary", {},
      el("time", { datetime: new Date(decision.at).toISOString() }, clock(decision.at)),
      change,
      el("span", { class: "what" },
        el("b", {}, decision.variant ?? decision.model), " ", sentence(decision.sentence),
        decision.otherwise ? el("em", {}, ` ${sentence(decision.otherwise)}`) : null),
    ),
  );
  // Built when it is opened first: most are never looked into.
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(el("div", { class: "explanation" }, ...blocks(decision.explanation)));
  });
  return el("li", {}, details);
}

function sentence(text) {
  const trimmed = text.trim();
  return /[.!?]$/.test(trimmed) ? trimmed : `${trimmed}.`;
}

// JSON objects come sorted by name; people look for these first, in this order.
const FIRST = ["signal", "name", "analyzer", "limit", "variant", "value"];
const LAST = ["source", "age"];
const rank = (key) => (FIRST.includes(key) ? FIRST.indexOf(key) - FIRST.length : LAST.includes(key) ? 1 + LAST.indexOf(key) : 0);
const ordered = (keys) => [...keys].sort((a, b) => rank(a) - rank(b));

const words = (key) => key.replace(/([a-z])([A-Z])/g, "$1 $2").replace(/_/g, " ");

function blocks(tree) {
  if (tree === null || tree === undefined) return [el("p", { class: "none" }, "No explanation was recorded.")];
  if (typeof tree !== "object" || Array.isArray(tree)) return [value(tree, 0)];
  const plain = Object.entries(tree).filter(([, part]) => part === null || typeof part !== "object");
  const parts = Object.entries(tree).filter(([, part]) => part !== null && typeof part === "object");
  parts.sort(([, a], [, b]) => Array.isArray(b) - Array.isArray(a)); // what was seen, then what was made of it
  return [
    ...(plain.length ? [value(Object.fromEntries(plain), 0)] : []),
    ...parts.map(([key, part]) => el("section", {}, el("h4", {}, words(key)), value(part, 1))),
  ];
}

function value(part, depth) {
  if (part === null) return el("span", { class: "none" }, "none");
  if (typeof part !== "object") return el("span", { class: `is-${typeof part}` }, plain(part));
  if (depth > DEEPEST) return el("code", {}, JSON.stringify(part).slice(0, 200));
  if (Array.isArray(part)) return list(part, depth);
  const entries = Object.entries(part);
  if (!entries.length) return el("span", { class: "none" }, "none");
  return el("dl", {}, ...entries.slice(0, LONGEST).flatMap(([key, inner]) => [el("dt", {}, words(key)), el("dd", {}, value(inner, depth + 1))]));
}

function plain(part) {
  if (typeof part === "number" && !Number.isInteger(part)) return String(Number(part.toPrecision(4)));
  if (typeof part === "boolean") return part ? "yes" : "no";
  return String(part);
}

function list(parts, depth) {
  if (!parts.length) return el("span", { class: "none" }, "none");
  const shown = parts.slice(0, LONGEST);
  const flat = (row) => row !== null && typeof row === "object" && !Array.isArray(row) && Object.values(row).every((cell) => cell === null || typeof cell !== "object");
  if (!shown.every(flat)) return el("ul", {}, ...shown.map((part) => el("li", {}, value(part, depth + 1))));
  const columns = ordered(new Set(shown.flatMap((row) => Object.keys(row))));
  const head = el("tr", {}, ...columns.map((column) => el("th", { scope: "col" }, words(column))));
  const rows = shown.map((row) => el("tr", {}, ...columns.map((column) => el("td", {}, value(row[column] ?? null, depth + 1)))));
  return el("div", { class: "table" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
}
