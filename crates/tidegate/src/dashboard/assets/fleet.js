// The fleet: a row per variant, a berth per replica it may have. A replica
// keeps its berth while it lives, so nothing moves when others come and go.

import { clock, count, el, figure, keyed, money, percent, put, set, span, svg } from "./dom.js";

const SHOWN_FREE = 8;
const RING = 2 * Math.PI * 19;

// By variant: Pod names by berth, null where free.
const berths = new Map();

export function drawFleet(host, variants, now) {
  keyed(host, variants, (variant) => variant.name, makeVariant, (node, variant) => updateVariant(node, variant, now));
  if (!variants.length) host.dataset.empty = "No variant is configured: nothing is scaled.";
  else delete host.dataset.empty;
}

function makeVariant() {
  return el("article", { class: "variant" },
    el("div", { class: "who" }, el("h3"), el("p")),
    el("ul", { class: "berths" }),
    el("div", { class: "terms" }, el("p", { class: "money" }), el("p", { class: "bounds" }), el("p", { class: "reason" }, el("b"), " ", el("span")), el("ul", { class: "waits", title: "what it waits for: what would change its replicas" })),
  );
}

function updateVariant(node, variant, now) {
  const [who, list, terms] = node.children;
  put(who.children[0], variant.name);
  put(who.children[1], `${variant.model} · ${variant.accelerator}`);
  set(list, "aria-label", `Replicas of ${variant.name}`);
  const [cost, bounds, reason, waits] = terms.children;
  put(cost, money(variant.cost_now));
  set(cost, "title", variant.cost_per_hour === null ? "the cost of a replica is not known" : `${money(variant.cost_per_hour)} per replica`);
  const current = variant.current ?? "–";
  const wanted = variant.desired !== null && variant.desired !== variant.current ? `, ${variant.desired} wanted` : "";
  put(bounds, `${current} of ${variant.min}–${variant.max}${wanted}`);
  put(reason.children[0], variant.reason);
  put(reason.children[1], variant.sentence);
  keyed(waits, variant.waits_for, (text) => text.split(": ")[0], () => el("li", {}, el("b"), " ", el("span")), (item, text) => {
    const [way, ...what] = text.split(": ");
    put(item.children[0], way);
    put(item.children[1], what.join(": "));
  });
  const places = settle(variant);
  list.classList.toggle("vacant", !variant.replicas.length);
  keyed(list, places, (place) => place.key, makeBerth, (berth, place) => updateBerth(berth, place, now));
}

// Gives each replica its berth and each free berth its place.
function settle(variant) {
  const old = berths.get(variant.name) ?? [];
  const alive = new Map(variant.replicas.map((replica) => [replica.pod, replica]));
  const berth = old.map((pod) => (alive.has(pod) ? pod : null));
  for (const pod of [...alive.keys()].filter((pod) => !berth.includes(pod))) {
    const free = berth.indexOf(null);
    if (free < 0) berth.push(pod);
    else berth[free] = pod;
  }
  const wanted = Math.max(variant.max <= SHOWN_FREE ? variant.max : Math.min(variant.max, alive.size + 1), 1);
  while (berth.length > wanted && berth.at(-1) === null) berth.pop();
  while (berth.length < wanted) berth.push(null);
  berths.set(variant.name, berth);
  return berth.map((pod, i) => ({ key: i, replica: alive.get(pod) ?? null, index: i, variant }));
}

function makeBerth() {
  return el("li", { class: "berth" });
}

function updateBerth(node, { replica, index, variant }, now) {
  if (!replica) {
    const tile = node.firstElementChild;
    if (tile && !tile.classList.contains("leaving")) leave(tile);
    node.classList.add("free");
    set(node, "aria-label", `free, replica ${index + 1} of at most ${variant.max}`);
    return;
  }
  node.classList.remove("free");
  set(node, "aria-label", null);
  let tile = node.querySelector(".tile:not(.leaving)");
  if (!tile || tile.dataset.pod !== replica.pod) {
    node.replaceChildren();
    tile = makeTile(replica);
    node.append(tile);
  }
  updateTile(tile, replica, now);
}

function leave(tile) {
  tile.classList.add("leaving");
  const gone = () => tile.remove();
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (still) gone();
  else setTimeout(gone, 450);
}

function makeTile(replica) {
  const tile = el("div", { class: "tile", role: "group" },
    el("i", { class: "water" }),
    el("p", { class: "state" }, el("b"), el("code")),
    el("div", { class: "body" }),
  );
  tile.dataset.pod = replica.pod;
  return tile;
}

const suffix = (pod) => pod.split("-").at(-1).slice(-6);

function updateTile(tile, replica, now) {
  const [water, state, body] = tile.children;
  if (tile.dataset.state !== replica.state) {
    tile.dataset.state = replica.state;
    body.replaceChildren(...(SHAPES[replica.state] ?? SHAPES.pending).make());
  }
  put(state.children[0], replica.state);
  put(state.children[1], suffix(replica.pod));
  const level = ["serving", "draining"].includes(replica.state) ? replica.kv.v : null;
  const height = level === null ? "0" : String(Math.round(Math.min(1, Math.max(0, level)) * 100));
  if (water.dataset.level !== height) {
    water.dataset.level = height;
    water.style.height = `${height}%`;
  }
  const restarts = replica.restarts ? `, restarted ${replica.restarts === 1 ? "once" : `${replica.restarts} times`}` : "";
  const since = replica.started ? `, started ${clock(replica.started)}` : "";
  set(tile, "title", `${replica.pod}${since}${restarts}`);
  const words = (SHAPES[replica.state] ?? SHAPES.pending).update(body, replica, now);
  set(tile, "aria-label", `${suffix(replica.pod)}, ${replica.state}: ${words}${restarts}`);
}

const because = (body, replica, otherwise) => {
  const text = replica.reason ?? otherwise;
  put(body.lastElementChild, text);
  set(body.lastElementChild, "title", text.length > 40 ? text : null);
  return text;
};

const reasoned = (otherwise) => ({
  make: () => [el("p", { class: "because" })],
  update: (body, replica) => because(body, replica, otherwise),
});

const working = {
  make: () => [
    svg("svg", { class: "slots", "aria-hidden": "true" }, svg("path", { class: "free" }), svg("path", { class: "used" })),
    el("p", { class: "figures" }, el("span", {}, el("b"), el("small")), el("span", {}, el("small", {}, "KV "), el("b")), el("span", {}, el("small", {}, "queue "), el("b"))),
  ],
  update(body, replica) {
    const [grid, line] = body.children;
    const [slots, kv, queue] = line.children;
    drawSlots(grid, replica.in_flight, replica.slots);
    put(slots.children[0], replica.in_flight === null ? "–" : String(replica.in_flight));
    const draining = replica.state === "draining";
    put(slots.children[1], draining ? " left" : replica.slots === null ? "" : `/${replica.slots}`);
    set(slots, "title", replica.in_flight === null ? "the gateway does not know this replica" : `${count(replica.in_flight, "request")} in flight, ${replica.slots} slots`);
    figure(kv.children[1], replica.kv, percent);
    figure(queue.children[1], replica.waiting, (n) => String(n));
    return `${slots.textContent} slots used, KV cache ${kv.children[1].textContent}, ${queue.children[1].textContent} waiting inside`;
  },
};

const SHAPES = {
  pending: reasoned("waits for a node"),
  asleep: reasoned("weights put away; wakes on a request"),
  failed: reasoned("its server does not run"),
  serving: working,
  draining: working,
  starting: {
    make: () => [
      svg("svg", { class: "ring", viewBox: "0 0 48 48", "aria-hidden": "true" }, svg("circle", { cx: 24, cy: 24, r: 19 }), svg("circle", { class: "left", cx: 24, cy: 24, r: 19 }), svg("text", { x: 24, y: 29 })),
      el("p", { class: "because" }),
    ],
    update(body, replica, now) {
      const [ring, text] = body.children;
      const [, arc, number] = ring.children;
      const gone = replica.started === null ? null : Math.max(0, now - replica.started);
      const left = replica.due === null ? null : replica.due - now;
      const share = left === null ? 0 : Math.min(1, Math.max(0, 1 - left / replica.usual_ms));
      set(arc, "stroke-dasharray", `${(share * RING).toFixed(1)} ${RING.toFixed(1)}`);
      ring.classList.toggle("late", left !== null && left <= -1000);
      put(number, left === null ? (gone === null ? "–" : `${Math.round(gone / 1e3)}`) : left > -1000 ? `${Math.max(0, Math.round(left / 1e3))}` : `+${Math.round(-left / 1e3)}`);
      const words = left === null ? `s so far; first start seen` : left > -1000 ? `s left; usually ${span(replica.usual_ms)}` : `s late; usually ${span(replica.usual_ms)}`;
      put(text, words);
      return `${number.textContent} ${words}`;
    },
  },
};

// One square per slot; past 64 a bar says it better.
function drawSlots(grid, used, slots) {
  const key = `${used}/${slots}`;
  if (grid.dataset.key === key) return;
  grid.dataset.key = key;
  const [free, full] = grid.children;
  const width = 120;
  const known = slots !== null && slots > 0;
  if (!known || slots > 64) {
    const share = known ? Math.min(1, used / slots) : 0;
    set(grid, "viewBox", `0 0 ${width} 18`);
    set(free, "d", `M0,4h${width}v10h-${width}z`);
    set(full, "d", share > 0 ? `M0,4h${(width * share).toFixed(1)}v10h-${(width * share).toFixed(1)}z` : "");
    return;
  }
  const columns = slots <= 8 ? Math.max(4, slots) : slots <= 32 ? Math.ceil(slots / 2) : 16;
  const rows = Math.ceil(slots / columns);
  const pitch = Math.min(width / columns, 15, 36 / rows);
  const side = (pitch - Math.max(1.5, pitch * 0.16)).toFixed(2);
  const square = (i) => `M${((i % columns) * pitch).toFixed(2)},${(Math.floor(i / columns) * pitch).toFixed(2)}h${side}v${side}h-${side}z`;
  set(grid, "viewBox", `0 0 ${width} ${Math.ceil(rows * pitch)}`);
  const squares = [...Array(slots).keys()];
  set(full, "d", squares.filter((i) => i < used).map(square).join(""));
  set(free, "d", squares.filter((i) => i >= used).map(square).join(""));
}
