// Listens to /events while the page is visible, and draws once per state.

import { Chart } from "./charts.js";
import { drawDecisions, openDecision } from "./decisions.js";
import { clock, el, keyed, money, put, rate, round, set, span } from "./dom.js";
import { drawFleet } from "./fleet.js";

const SILENT_MS = 4_000;
const KEPT = 334;
const $ = (id) => document.getElementById(id);

let source = null;
let state = null;
let points = [];
let decisions = [];
let received = 0;
let heard = 0;
let retry = 0;
let version = null;

// ---- connection

function open() {
  if (source || document.hidden) return;
  let first = true;
  source = new EventSource("/events");
  source.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (version !== null && message.state.version !== version) location.reload();
    version = message.state.version;
    points = first ? message.points : points.concat(message.points).slice(-KEPT);
    decisions = message.decisions ?? decisions;
    state = message.state;
    first = false;
    retry = 0;
    received = performance.now();
    heard = Date.now();
    draw();
  };
  source.onerror = () => {
    close();
    retry = Math.min(retry + 1, 5);
    setTimeout(open, retry * 800);
    watch();
  };
}

function close() {
  source?.close();
  source = null;
}

// Once per second: the clock of the connection, and whether it still lives.
function watch() {
  if (document.hidden) return;
  const silent = performance.now() - received;
  const lost = state ? !source || silent > SILENT_MS : retry > 0;
  document.body.classList.toggle("lost", lost);
  if (!lost) {
    if (state) put($("link").lastElementChild, clock(state.now));
    return;
  }
  if (source && state && silent > 3 * SILENT_MS) {
    close();
    open();
  }
  put($("link").lastElementChild, "not connected");
  say("lost", "Disconnected.", state
    ? `No word from tidegate since ${clock(heard)}, for ${span(Date.now() - heard)}; everything below is from then.`
    : "Tidegate does not answer; trying again.");
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    close();
  } else {
    received = performance.now();
    open();
    watch();
  }
});

// ---- the sentence

const GLYPHS = {
  holding: "M4 12.5l5.5 5.5L20 6.5",
  serving: "M4 9q4-4 8 0t8 0M4 16q4-4 8 0t8 0",
  behind: "M6 3.5h12M6 20.5h12M8 3.5c0 5 4 6 4 8.5s-4 3.5-4 8.5M16 3.5c0 5-4 6-4 8.5s4 3.5 4 8.5",
  starting: "M12 3.5a8.5 8.5 0 1 1-8.5 8.5M12 7.5V12l3 2",
  broken: "M6 6l12 12M18 6L6 18",
  idle: "M4 12h16",
  asleep: "M19 14.5A8 8 0 0 1 9.5 5a8 8 0 1 0 9.5 9.5z",
  empty: "M5 5h14v14H5z",
  unknown: "M8 9a4 4 0 1 1 5.5 3.7Q12 13.4 12 15M12 19v.01",
  lost: "M4 4l16 16M5 12a10 10 0 0 1 3-2M19 12a10 10 0 0 0-6-2.9M12 18v.01",
  wait: "M6 12v.01M12 12v.01M18 12v.01",
};

// Figures of the sentence itself: not those inside names or quoted reasons.
const NUMBERS = /((?<![\w.-])\d[\d.]*(?![\w-])(?: (?:ms|s|min|h|\$\/h|%)(?!\w))?(?: \d+ (?:s|min)(?!\w))?)(?![^(]*\))/;
let announced = "";

function say(level, word, text) {
  const [first, rest] = $("headline").children;
  document.body.dataset.level = level;
  set(first.firstElementChild.firstElementChild, "d", GLYPHS[level] ?? GLYPHS.wait);
  put(first.lastElementChild, word);
  // Figures stand out from their words.
  if (rest.textContent !== text) {
    rest.replaceChildren(...text.split(NUMBERS).map((part, i) => (i % 2 ? el("b", {}, part) : part)));
  }
  if (announced !== word) {
    announced = word;
    put($("said"), `${word} ${text}`);
  }
  const title = `${word.replace(".", "")} · Tidegate`;
  if (document.title !== title) document.title = title;
}

// ---- charts

// A point's values of one pool, in the order the server writes them.
const [ARRIVALS, ANSWERS, FAILURES, QUEUED, , TTFT50, TTFT99, ITL50, ITL99] = Array(9).keys();

const of = (pool, field) => (point) => point.pools[pool]?.[field] ?? null;
const sum = (field) => (point) => {
  const all = Object.values(point.pools).map((sample) => sample[field]);
  return all.length && all.every((value) => value !== null) ? all.reduce((a, b) => a + b, 0) : null;
};
// The queues of this pool and of those drawn below it.
const stacked = (pools) => (point) => {
  const all = pools.map((pool) => point.pools[pool]?.[QUEUED] ?? null);
  return all.some((value) => value !== null) ? all.reduce((a, b) => a + (b ?? 0), 0) : null;
};

const plain = (value) => (value === null ? "–" : String(value));
let stream = null;
let streamOf = "";

function drawStream() {
  const models = state.models;
  const key = models.map((model) => model.pool).join();
  if (!stream || (streamOf !== key && models.length)) {
    $("stream").replaceChildren();
    const queues = models.length > 1
      ? models.map((model, i) => ({ name: model.name, kind: `queue band${i % 4}`, area: true, quiet: true, value: stacked(models.slice(0, i + 1).map((m) => m.pool)), own: of(model.pool, QUEUED) })).reverse()
      : [{ name: "waiting", kind: "queue", area: true, value: sum(QUEUED) }];
    stream = new Chart($("stream"), [
      {
        title: "Requests per second", height: 124, least: 4, scale: "linear", format: rate, tick: (n) => `${n}/s`, between: ["arrivals", "answers"],
        series: [
          { name: "arrivals", kind: "arrivals", value: sum(ARRIVALS) },
          { name: "answers", kind: "answers", area: true, value: sum(ANSWERS) },
          { name: "failures", kind: "failures", quiet: true, value: sum(FAILURES) },
        ],
      },
      { title: "Queue, requests waiting", height: 62, least: 8, scale: "linear", format: plain, tick: plain, series: queues },
    ], { flags: true, label: "Arrivals, answers and queue over the last five minutes" });
    streamOf = key;
  }
  stream.update(points, state.now, decisions);
}

function drawLatency() {
  keyed($("latency"), state.models, (model) => model.pool, makeLatency, (node, model) => {
    put(node.firstElementChild, state.models.length > 1 ? model.name : "");
    node.model = model;
    const told = points.some((point) => point.pools[model.pool]?.some((value, field) => field >= TTFT50 && value !== null));
    node.classList.toggle("quiet", !told);
    node.chart.update(points, state.now, decisions.filter((decision) => decision.model === model.name));
  });
  if (!state.models.length && !points.length) $("latency").dataset.empty = "The gateway has told of no model yet.";
  else delete $("latency").dataset.empty;
}

function makeLatency(model) {
  const host = el("div", { class: "chart" });
  const node = el("div", { class: "model" }, el("h3"), el("p", { class: "none" }, "No answer in the last 5 minutes."), host);
  node.model = model;
  const lane = (title, least, limit, p50, p99) => ({
    title, height: 92, least, scale: "log", roomy: true, format: span, tick: round, limit: () => node.model[limit],
    series: [
      { name: "p99", kind: "p99", value: of(model.pool, p99) },
      { name: "p50", kind: "p50", value: of(model.pool, p50) },
    ],
  });
  node.chart = new Chart(host, [
    lane("Time to first token", 20, "ttft_slo_ms", TTFT50, TTFT99),
    lane("Between tokens", 5, "itl_slo_ms", ITL50, ITL99),
  ], { label: `Latency of ${model.name} over the last five minutes` });
  return node;
}

// ---- everything

function draw() {
  document.body.classList.remove("lost");
  put($("link").lastElementChild, clock(state.now));
  const { headline } = state;
  say(headline.level, `${headline.word}.`, headline.text);
  drawStream();
  const { fleet } = state;
  const soon = fleet.starting ? `, ${fleet.starting} starting` : "";
  put($("fleet-sum"), `${fleet.serving} serving${soon} · ${money(fleet.cost_per_hour)}`);
  drawFleet($("fleet"), state.variants, state.now);
  drawLatency();
  drawDecisions($("log"), decisions);
  drawFoot();
}

function drawFoot() {
  const foot = $("foot");
  if (!foot.children.length) foot.append(el("p"), el("p"), el("ul"), el("p", {}, "As data: ", el("a", { href: "/state" }, "/state"), ", ", el("a", { href: "/events" }, "/events")));
  const [name, age, list] = foot.children;
  put(name, `Tidegate ${state.version}`);
  const { at, fresh, why } = state.signals;
  put(age, at === null ? `No signal: ${why}` : fresh ? `Newest signal ${state.now - at < 1000 ? "under 1 s" : span(state.now - at)} old` : `Newest signal of ${clock(at)}: ${why}`);
  const make = ({ name, value }) => {
    const link = /^https?:\/\//.test(value);
    return el("li", {}, el("span", {}, name), " ", link ? el("a", { href: value }, value.replace(/^https?:\/\//, "")) : el("code", {}, value));
  };
  keyed(list, state.addresses, (address) => `${address.name} ${address.value}`, make, () => {});
}

document.addEventListener("decision", (event) => openDecision($("log"), event.detail));
setInterval(watch, 1000);
open();
