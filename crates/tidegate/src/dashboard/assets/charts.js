// Charts of the last five minutes, drawn as SVG once per state.
//
// A chart is a stack of lanes on one time axis. What is not known is a gap in
// the line. Decisions are marks through all lanes; their flags stand on top.

import { clock, el, keyed, minute, put, set, svg } from "./dom.js";

const SPAN = 300_000;
const GAP = 2_600;
const LEFT = 46;
const TOP = 10;
const BETWEEN = 16;
const AXIS = 24;

// All charts show the same moment under the pointer.
const charts = new Set();
let hovered = null;
let pending = false;

function hover(at) {
  hovered = at;
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    for (const chart of charts) chart.point();
  });
}

export class Chart {
  // lanes: [{ height, scale: "linear"|"log", format, least, series: [{ name, kind, value(point) }], limit(), title }]
  constructor(host, lanes, { flags = false, label }) {
    this.host = host;
    this.lanes = lanes;
    this.points = [];
    this.now = 0;
    this.decisions = [];
    this.width = 0;
    this.flagged = flags;
    this.root = svg("svg", { class: "plot", role: "img", "aria-label": label });
    this.label = label;
    this.host.append(this.root);
    this.grid = svg("g", { class: "grid" });
    this.root.append(this.grid);
    this.marks = svg("path", { class: "marks" });
    this.lanes.forEach((lane) => this.build(lane));
    this.axis = svg("g", { class: "axis" });
    this.cursor = svg("path", { class: "cursor" });
    this.when = svg("text", { class: "when" });
    this.root.append(this.marks, this.axis, this.cursor, this.when);
    if (flags) {
      this.flags = el("div", { class: "flags" });
      this.host.append(this.flags);
    }
    new ResizeObserver(([entry]) => {
      const width = Math.round(entry.contentRect.width);
      if (width !== this.width && width > 0) {
        this.width = width;
        this.draw();
      }
    }).observe(host);
    this.root.addEventListener("pointermove", (event) => {
      const x = event.clientX - this.root.getBoundingClientRect().left;
      const at = this.now - SPAN + ((x - LEFT) / this.inner) * SPAN;
      hover(at >= this.now - SPAN && at <= this.now ? at : null);
    });
    this.root.addEventListener("pointerleave", () => hover(null));
    charts.add(this);
  }

  build(lane) {
    lane.group = svg("g", { class: "lane" });
    lane.rules = svg("g", { class: "rules" });
    lane.shapes = svg("g");
    lane.labels = svg("g", { class: "labels" });
    lane.head = svg("text", { class: "lane-title" });
    lane.head.textContent = lane.title;
    lane.group.append(lane.rules, lane.shapes, lane.labels, lane.head);
    for (const series of lane.series) {
      series.fill = series.area ? svg("path", { class: `fill ${series.kind}` }) : null;
      series.line = svg("path", { class: `line ${series.kind}` });
      series.dot = svg("circle", { class: `dot ${series.kind}`, r: 3 });
      series.figure = svg("text", { class: `value ${series.kind}` });
      series.name_ = svg("text", { class: "name" });
      series.name_.textContent = series.name;
      if (series.fill) lane.shapes.append(series.fill);
    }
    lane.debt = lane.between ? svg("path", { class: "fill debt" }) : null;
    if (lane.debt) lane.shapes.append(lane.debt);
    for (const series of lane.series) {
      lane.shapes.append(series.line, series.dot);
      lane.labels.append(series.figure, series.name_);
    }
    if (lane.limit) {
      lane.over = svg("path", { class: "fill over" });
      lane.slo = svg("path", { class: "slo" });
      lane.sloText = svg("text", { class: "slo-text" });
      lane.shapes.prepend(lane.over, lane.slo);
      lane.labels.append(lane.sloText);
    }
    this.root.append(lane.group);
  }

  update(points, now, decisions) {
    this.points = points;
    this.now = now;
    this.decisions = decisions;
    if (this.width) this.draw();
  }

  measure() {
    this.narrow = this.width < 640;
    this.inner = Math.max(40, this.width - LEFT - (this.narrow ? 8 : 112));
  }

  x(t) {
    return LEFT + ((t - (this.now - SPAN)) / SPAN) * this.inner;
  }

  draw() {
    let top = TOP + (this.flagged ? 26 : 0);
    const first = top;
    this.measure();
    const shown = this.points.filter((point) => point.t >= this.now - SPAN - GAP);
    // Where each point is, once for all lines.
    this.xs = shown.map((point) => this.x(point.t).toFixed(1));
    for (const lane of this.lanes) {
      const head = this.narrow ? 54 : lane.roomy ? 18 : 6;
      lane.top = top + head;
      lane.bottom = lane.top + lane.height;
      this.lane(lane, shown);
      top = lane.bottom + BETWEEN;
    }
    this.bottom = top - BETWEEN;
    const height = this.bottom + AXIS;
    set(this.root, "width", this.width);
    set(this.root, "height", height);
    this.first = first;
    this.times();
    this.flag();
    this.point();
  }

  lane(lane, points) {
    const rows = lane.series.map((series) => points.map((point) => series.value(point)));
    const limit = lane.limit ? lane.limit() : null;
    const y = lane.scale === "log" ? logarithmic(lane, rows, limit) : linear(lane, rows);
    lane.y = y;
    const right = LEFT + this.inner;
    rules(lane, y.ticks, right);
    lane.series.forEach((series, i) => {
      const runs = this.runs(points, rows[i], y);
      const silent = series.quiet && !series.area && !rows[i].some((value) => value > 0);
      set(series.line, "d", silent ? "" : runs.map((run) => "M" + run.join("L")).join(""));
      if (series.fill) {
        const closed = (run) => `M${run[0].split(",")[0]},${lane.bottom}L${run.join("L")}L${run.at(-1).split(",")[0]},${lane.bottom}Z`;
        set(series.fill, "d", runs.filter((run) => run.length > 1).map(closed).join(""));
      }
    });
    if (lane.debt) {
      const [above, below] = lane.between.map((name) => rows[lane.series.findIndex((series) => series.kind === name)]);
      set(lane.debt, "d", this.band(points, above, below, y));
    }
    if (lane.limit) {
      const known = limit !== null && limit !== undefined;
      const line = known ? y(limit).toFixed(1) : 0;
      set(lane.slo, "d", known ? `M${LEFT},${line}H${right}` : "");
      put(lane.sloText, known ? `SLO ${lane.format(limit).replace(".0 ", " ")}` : "");
      set(lane.sloText, "x", LEFT + 6);
      set(lane.sloText, "y", known ? line - 5 : 0);
      const worst = rows[lane.series.findIndex((series) => series.kind === "p99")];
      set(lane.over, "d", known ? this.band(points, worst, worst.map(() => limit), y) : "");
    }
    set(lane.head, "x", this.narrow ? 0 : LEFT);
    set(lane.head, "y", lane.top - (this.narrow ? 38 : 8));
    set(lane.head, "visibility", this.narrow || lane.roomy ? "visible" : "hidden");
  }

  // Pieces of a line without gaps, as "x,y" texts.
  runs(points, values, y) {
    const runs = [];
    let run = [];
    points.forEach((point, i) => {
      const value = values[i];
      const torn = i > 0 && point.t - points[i - 1].t > GAP;
      if ((value === null || torn) && run.length) {
        runs.push(run);
        run = [];
      }
      if (value !== null) run.push(`${this.xs[i]},${y(value).toFixed(1)}`);
    });
    if (run.length) runs.push(run);
    return runs;
  }

  // The area where `above` is more than `below`.
  band(points, above, below, y) {
    let path = "";
    let up = [];
    let down = [];
    const close = () => {
      if (up.length > 1) path += `M${up.join("L")}L${down.reverse().join("L")}Z`;
      up = [];
      down = [];
    };
    points.forEach((point, i) => {
      if (above[i] === null || below[i] === null || (i > 0 && point.t - points[i - 1].t > GAP)) close();
      if (above[i] === null || below[i] === null) return;
      const x = this.xs[i];
      up.push(`${x},${y(Math.max(above[i], below[i])).toFixed(1)}`);
      down.push(`${x},${y(below[i]).toFixed(1)}`);
    });
    close();
    return path;
  }

  times() {
    const every = 60_000;
    const ticks = [];
    for (let t = Math.ceil((this.now - SPAN) / every) * every; t <= this.now; t += every) ticks.push(t);
    keyed(this.axis, ticks, (t) => t, () => svg("g", {}, svg("path"), svg("text")), (node, t) => {
      const x = this.x(t);
      const [line, text] = node.children;
      set(line, "d", `M${x.toFixed(1)},${this.first}V${this.bottom}`);
      put(text, minute(t));
      set(text, "x", x.toFixed(1));
      set(text, "y", this.bottom + 18);
      set(text, "visibility", x < LEFT + 10 || x > LEFT + this.inner - 46 ? "hidden" : "visible");
    });
    if (!this.end) {
      this.end = svg("text", { class: "end" });
      this.end.textContent = "now";
      this.root.append(this.end);
    }
    set(this.end, "x", LEFT + this.inner);
    set(this.end, "y", this.bottom + 18);
  }

  flag() {
    const seen = this.decisions.filter((decision) => decision.at > this.now - SPAN && decision.at <= this.now + 1000);
    // Only inside the lanes: what stands between them is to be read.
    const stem = this.flagged && !this.narrow ? this.lanes[0].top - this.first + 6 : 0;
    const through = (x) => this.lanes.map((lane, i) => `M${x},${lane.top - (i ? 0 : stem)}V${lane.bottom}`).join("");
    set(this.marks, "d", seen.map((d) => through(this.x(d.at).toFixed(1))).join(""));
    if (!this.flags) return;
    // Decisions closer together than their flags are wide share one.
    const groups = [];
    for (const decision of [...seen].sort((a, b) => a.at - b.at)) {
      const last = groups.at(-1);
      if (last && this.x(decision.at) - this.x(last.at(-1).at) < 54) last.push(decision);
      else groups.push([decision]);
    }
    keyed(this.flags, groups, (group) => group[0].id, () => this.flagButton(), (button, group) => {
      button.group = group;
      const one = group.every((d) => d.variant === group[0].variant && d.model === group[0].model);
      put(button, one ? `${group[0].from} → ${group.at(-1).to}` : `${group.length} changes`);
      button.classList.toggle("down", one && group.at(-1).to < group[0].from);
      const words = group.map((d) => `${clock(d.at)} ${d.variant ?? d.model} ${d.from} to ${d.to}: ${d.sentence}`);
      set(button, "aria-label", words.join(". "));
      // Asking for a width lays the page out: only when it can have changed.
      if (button.measured !== button.textContent) {
        button.measured = button.textContent;
        button.half = button.offsetWidth / 2 || 22;
      }
      const { half } = button;
      const middle = (this.x(group[0].at) + this.x(group.at(-1).at)) / 2;
      const left = Math.min(Math.max(middle, half), this.width - half);
      button.style.transform = `translateX(${(left - half).toFixed(1)}px)`;
    });
    if (this.pop && !this.pop.hidden) this.explain(this.pop.button);
  }

  flagButton() {
    const button = el("button", { type: "button", class: "flag" });
    let touched = false;
    button.addEventListener("pointerdown", (event) => {
      touched = event.pointerType !== "mouse" && (this.pop?.hidden ?? true);
    });
    button.addEventListener("pointerenter", () => this.explain(button));
    button.addEventListener("pointerleave", () => this.pop && !this.pop.matches(":hover") && this.hide());
    button.addEventListener("focus", () => this.explain(button));
    button.addEventListener("blur", () => this.hide());
    button.addEventListener("keydown", (event) => event.key === "Escape" && this.hide());
    button.addEventListener("click", () => {
      if (touched) this.explain(button);
      else button.dispatchEvent(new CustomEvent("decision", { bubbles: true, detail: button.group.at(-1).id }));
      touched = false;
    });
    return button;
  }

  explain(button) {
    if (!button?.isConnected) return this.hide();
    this.pop ??= this.host.appendChild(el("div", { class: "pop", role: "tooltip" }));
    this.pop.hidden = false;
    this.pop.button = button;
    this.pop.replaceChildren(
      ...button.group.map((d) =>
        el("p", {}, el("b", {}, `${clock(d.at)}  ${d.variant ?? d.model} ${d.from} → ${d.to}`), el("br"), `${d.sentence}.`),
      ),
    );
    const middle = button.getBoundingClientRect().left + button.offsetWidth / 2 - this.host.getBoundingClientRect().left;
    const half = this.pop.offsetWidth / 2;
    const left = Math.min(Math.max(middle - half, 0), Math.max(0, this.width - 2 * half));
    this.pop.style.transform = `translateX(${left.toFixed(0)}px)`;
    return undefined;
  }

  hide() {
    if (this.pop) this.pop.hidden = true;
  }

  // Figures at the right: the newest ones, or those under the pointer.
  point() {
    if (!this.width) return;
    const at = hovered !== null && hovered >= this.now - SPAN ? hovered : null;
    const point = at === null ? this.points.at(-1) : nearest(this.points, at);
    const x = at === null ? null : this.x(at).toFixed(1);
    set(this.cursor, "d", x === null ? "" : `M${x},${this.first}V${this.bottom}`);
    put(this.when, x === null ? "" : clock(at));
    if (x !== null) {
      set(this.when, "x", Math.min(Math.max(x, LEFT + 26), LEFT + this.inner - 26));
      set(this.when, "y", this.bottom + 18);
    }
    this.root.classList.toggle("pointed", x !== null);
    for (const lane of this.lanes) this.figures(lane, point);
  }

  figures(lane, point) {
    const right = LEFT + this.inner;
    const known = lane.series.map((series) => ({ series, value: point ? series.value(point) : null }));
    const amount = ({ series, value }) => (series.own && point ? series.own(point) : value);
    const some = known.filter((entry) => !entry.series.quiet || amount(entry) > 0);
    const shown = some.length ? some : known.slice(-1);
    for (const { series, value } of known) {
      const here = shown.some((other) => other.series === series);
      for (const node of [series.figure, series.name_]) set(node, "visibility", here ? "visible" : "hidden");
      put(series.figure, lane.format(series.own && point ? series.own(point) : value));
      set(series.dot, "visibility", value === null || !here ? "hidden" : "visible");
      if (value !== null && lane.y && point) {
        set(series.dot, "cx", this.x(point.t).toFixed(1));
        set(series.dot, "cy", lane.y(value).toFixed(1));
      }
    }
    if (this.narrow) {
      shown.forEach(({ series }, i) => {
        const left = (i * this.width) / Math.max(2, shown.length);
        set(series.figure, "x", left);
        set(series.name_, "x", left + series.figure.textContent.length * 9.6 + 8);
        for (const node of [series.figure, series.name_]) set(node, "y", lane.top - 16);
      });
      return;
    }
    // Beside the end of each line, pushed apart where they would touch.
    const middle = (lane.top + lane.bottom) / 2;
    const places = shown
      .map(({ series, value }) => ({ series, y: value === null || !lane.y ? middle : lane.y(value) }))
      .sort((a, b) => a.y - b.y);
    const apart = Math.min(36, lane.height / Math.max(1, places.length - 0.4));
    const low = lane.top + 4;
    const high = lane.bottom - 14;
    places.forEach((place, i) => {
      place.y = Math.max(place.y, i ? places[i - 1].y + apart : low);
    });
    for (let i = places.length - 1; i >= 0; i -= 1) {
      places[i].y = Math.min(places[i].y, i + 1 < places.length ? places[i + 1].y - apart : high);
    }
    for (const { series, y } of places) {
      set(series.figure, "x", right + 14);
      set(series.figure, "y", (y + 4).toFixed(1));
      set(series.name_, "x", right + 14);
      set(series.name_, "y", (y + 18).toFixed(1));
    }
  }
}

function nearest(points, at) {
  let best = null;
  for (const point of points) if (!best || Math.abs(point.t - at) < Math.abs(best.t - at)) best = point;
  return best && Math.abs(best.t - at) < GAP ? best : null;
}

const known = (rows) => rows.flat().filter((value) => value !== null);

// The next of 1, 2, 5, 10, 20 … at or above `value`.
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

function linear(lane, rows) {
  const most = Math.max(lane.least, ...known(rows)) * 1.06;
  const step = nice(most / (lane.height < 80 ? 2 : 3));
  const top = Math.ceil(most / step) * step;
  const y = (value) => lane.bottom - (value / top) * lane.height;
  y.ticks = [];
  for (let tick = 0; tick <= top * 1.001; tick += step) y.ticks.push([y(tick), lane.tick(tick)]);
  return y;
}

function logarithmic(lane, rows, limit) {
  const values = known(rows).filter((value) => value > 0);
  if (limit) values.push(limit * 1.15);
  if (!values.length) values.push(lane.least * 10);
  const top = nice(Math.max(...values) * 1.05);
  let low = nice(Math.min(...values) / 2.4);
  if (top / low < 8) low = nice(top / 10);
  const y = (value) => {
    const share = Math.log(Math.max(value, low) / low) / Math.log(top / low);
    return lane.bottom - Math.min(1, share) * lane.height;
  };
  y.ticks = [];
  for (let tick = low; tick <= top * 1.001; tick = nice(tick * 1.5)) y.ticks.push([y(tick), lane.tick(tick)]);
  // Too many lines say less: keep the decades.
  if (y.ticks.length > 5) y.ticks = y.ticks.filter((_, i) => i % Math.ceil(y.ticks.length / 4) === 0);
  return y;
}

function rules(lane, ticks, right) {
  keyed(lane.rules, ticks, (tick) => tick[1], () => svg("g", {}, svg("path"), svg("text")), (node, [y, text]) => {
    const [line, label] = node.children;
    set(line, "d", `M${LEFT},${Math.round(y) + 0.5}H${right}`);
    put(label, text);
    set(label, "x", LEFT - 8);
    set(label, "y", (y + 4).toFixed(1));
  });
}
