// Small helpers: elements, numbers with units, times.

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Writes only what differs, so that an unchanged page costs no layout.
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function set(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, value);
  }
}

const NONE = "–";

// 61 ms, 1.4 s, 2 min: the same words as the headline's.
export function span(ms) {
  if (ms === null || ms === undefined) return NONE;
  ms = Math.max(0, ms);
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${ms.toFixed(0)} ms`;
  if (ms < 9950) return `${(ms / 1e3).toFixed(1)} s`;
  if (ms < 59500) return `${(ms / 1e3).toFixed(0)} s`;
  if (ms < 3570000) return `${Math.round(ms / 6e4)} min`;
  return `${Math.floor(ms / 3.6e6)} h ${Math.round((ms % 3.6e6) / 6e4)} min`;
}

// A promised or ruled span is round: without decimals that say nothing.
export const round = (ms) => span(ms).replace(".0 ", " ");

export function rate(perSecond) {
  if (perSecond === null || perSecond === undefined) return NONE;
  return `${perSecond.toFixed(perSecond < 99.95 ? 1 : 0)}/s`;
}

export function percent(share) {
  return share === null || share === undefined ? NONE : `${Math.round(share * 100)} %`;
}

export function money(perHour) {
  return perHour === null || perHour === undefined ? NONE : `${perHour.toFixed(2)} $/h`;
}

export function count(n, one) {
  return n === 1 ? `1 ${one}` : `${n} ${one}s`;
}

const two = (n) => String(n).padStart(2, "0");

export function clock(unixMs) {
  const at = new Date(unixMs);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

export function minute(unixMs) {
  return clock(unixMs).slice(0, 5);
}

// A figure the fleet did not tell is a dash that says since when and why.
export function figure(node, reading, text) {
  if (reading && reading.v !== null) {
    put(node, text(reading.v));
    set(node, "title", null);
    node.classList.remove("missing");
    return;
  }
  const since = reading && reading.at ? `not reported since ${clock(reading.at)}` : "not reported yet";
  put(node, NONE);
  set(node, "title", reading && reading.why ? `${since}: ${reading.why}` : since);
  node.classList.add("missing");
}

// Keeps `host`'s children in the order of `items`, one per key, made once.
export function keyed(host, items, key, make, update) {
  const old = new Map([...host.children].map((node) => [node.dataset.key, node]));
  let place = host.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let node = old.get(name);
    old.delete(name);
    if (!node) {
      node = make(item);
      node.dataset.key = name;
    }
    if (node === place) place = place.nextElementSibling;
    else host.insertBefore(node, place);
    update(node, item);
  }
  for (const node of old.values()) node.remove();
}
