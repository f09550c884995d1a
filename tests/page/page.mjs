// The dashboard in a real browser, under load. Called by run.sh.
//
// Four readers (1280 and 400 pixels, light and dark) watch the same step; each
// must see the sentence, the tiles, the lines and the decision, within the
// rules of a page that speaks to nobody else.

import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";

const url = process.argv[2].replace(/\/?$/, "/");
const folder = process.env.SCREENSHOTS;
const within = Number(process.env.WITHIN ?? 60) * 1000;
let passed = 0;
let failed = 0;

async function check(name, claim) {
  try {
    const problem = await claim();
    if (problem) throw new Error(problem);
    passed += 1;
    console.log(`ok      ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}: ${String(error.message).split("\n")[0]}`);
  }
}

async function shoot(page, name) {
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
}

const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const host = await chromium.launch({ executablePath: process.env.CHROMIUM, headless: true, args: flags }).catch((error) => {
  console.error(`Chromium did not start: ${error.message}`);
  process.exit(1);
});

async function reader(width, scheme) {
  const context = await host.newContext({ viewport: { width, height: 860 }, colorScheme: scheme, hasTouch: width < 500 });
  const page = await context.newPage();
  const seen = { name: `${width} ${scheme}`, page, context, width, scheme, errors: [], foreign: [], bytes: 0 };
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && seen.errors.push(message.text()));
  page.on("pageerror", (error) => seen.errors.push(error.message));
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) seen.foreign.push(request.url());
  });
  page.on("response", (response) => {
    seen.bytes += Number(response.headers()["content-length"] ?? 0);
  });
  await page.goto(url);
  await page.waitForFunction(() => !["wait", "lost"].includes(document.body.dataset.level), null, { timeout: 10_000 });
  return seen;
}

const word = (page) => page.locator("h1 .word").innerText();
const sentence = (page) => page.locator("h1").innerText();
const tiles = (page) => page.locator(".tile:not(.leaving)").count();

// Every visible text against what is painted behind it, as WCAG 2 counts.
function faint() {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const light = ([r, g, b]) => {
    const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  };
  const backdrops = (node) => {
    const chain = [];
    for (let up = node; up; up = up.parentElement) chain.unshift(up);
    let below = [255, 255, 255, 1];
    for (const one of chain) below = over(rgba(getComputedStyle(one).backgroundColor), below);
    // The water in a tile may or may not be behind its text.
    const water = node.closest(".tile")?.querySelector(".water");
    const shown = water && getComputedStyle(water).display !== "none";
    return shown ? [below, over(rgba(getComputedStyle(water).backgroundColor), below)] : [below];
  };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const node = walker.currentNode.parentElement;
    if (!text || !node.checkVisibility({ visibilityProperty: true }) || node.closest("noscript, .unseen, .skip")) continue;
    const style = getComputedStyle(node);
    const colour = node instanceof SVGElement ? style.fill : style.color;
    for (const behind of backdrops(node)) {
      const [a, b] = [light(over(rgba(colour), behind)), light(behind)].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 4.5) bad.push(`"${text.slice(0, 24)}" ${ratio.toFixed(2)}`);
    }
  }
  return [...new Set(bad)].slice(0, 6).join(", ");
}

const readers = [];
for (const [width, scheme] of [[1280, "light"], [1280, "dark"], [400, "light"], [400, "dark"]]) readers.push(await reader(width, scheme));
const [wide] = readers;

const before = { word: await word(wide.page), tiles: await tiles(wide.page), decisions: await wide.page.locator("#log > li").count() };
await check(`at rest the sentence is calm: "${await sentence(wide.page)}"`, () =>
  /^(Holding|Idle|Serving|Asleep)\./.test(before.word.trim()) ? null : `it begins with "${before.word}"`);

const load = spawn("/bin/sh", ["-c", `exec ${process.env.LOAD}`], { stdio: "ignore" });
const ended = new Promise((resolve) => load.on("exit", (code) => resolve(code)));
const until = Date.now() + within;
const left = () => Math.max(1, until - Date.now());

await check("under load the sentence says what is wrong", () =>
  wide.page.waitForFunction(() => ["behind", "starting", "broken"].includes(document.body.dataset.level), null, { timeout: left() }).then(() => null));
console.log(`        "${(await sentence(wide.page)).replace(/\s+/g, " ")}"`);
await Promise.all(readers.map((one) => shoot(one.page, `behind-${one.width}-${one.scheme}`)));

for (const one of readers) {
  const { page, name } = one;
  await check(`${name}: more tiles than the ${before.tiles} at rest`, () =>
    page.waitForFunction((n) => document.querySelectorAll(".tile:not(.leaving)").length > n, before.tiles, { timeout: left() }).then(() => null));
  await check(`${name}: each variant says its cost, why it has its replicas, and what it waits for`, () =>
    page.evaluate(() => {
      const silent = [...document.querySelectorAll(".variant")].flatMap((variant) => {
        const says = (selector, pattern) => pattern.test(variant.querySelector(selector)?.textContent ?? "");
        const parts = { cost: says(".money", /\d.*\$\/h/), why: says(".reason", /\S+ \S+/), waits: says(".waits li", /^(up|down|to the minimum) \S+/) };
        return Object.entries(parts).filter(([, said]) => !said).map(([part]) => `${variant.querySelector("h3").textContent}: ${part}`);
      });
      return silent.join(", ") || (document.querySelector(".variant") ? null : "there is no variant");
    }));
  await check(`${name}: a decision appears`, () =>
    page.waitForFunction((n) => document.querySelectorAll("#log > li").length > n, before.decisions, { timeout: left() }).then(() => null));
}

await check("a new replica comes to serve", () =>
  wide.page.waitForFunction((n) => document.querySelectorAll('.tile[data-state="serving"]').length > n, before.tiles, { timeout: left() }).then(() => null));

for (const one of readers) {
  const { page, name, width } = one;
  await check(`${name}: the decision opens into its explanation`, async () => {
    // By its key: a newer decision may take the first place meanwhile.
    const key = await page.locator("#log > li").first().getAttribute("data-key");
    const first = page.locator(`#log > li[data-key="${key}"]`);
    await first.locator("summary").click();
    const text = await first.locator(".explanation").innerText({ timeout: 3000 });
    const open = await first.locator("details").evaluate((node) => node.open);
    await page.waitForTimeout(1500);
    if (!(await first.locator("details").evaluate((node) => node.open))) return "it closed itself at the next state";
    return open && text.trim().length > 10 ? null : `it holds "${text}"`;
  });
  await check(`${name}: the lines are drawn`, async () => {
    const empty = await page.evaluate(() => {
      const long = (path) => (path.getAttribute("d") ?? "").split("L").length >= 4 && path.getTotalLength() > 4;
      const wanted = ["#stream .line.arrivals", "#stream .line.answers", "#stream .line.queue", "#latency .line.p50", "#latency .line.p99"];
      return wanted.filter((selector) => ![...document.querySelectorAll(selector)].some(long));
    });
    return empty.length ? `no line: ${empty.join(", ")}` : null;
  });
  await check(`${name}: a decision is marked in the stream and tells itself on focus`, async () => {
    const flag = page.locator(".flag").last();
    await flag.focus();
    const text = await page.locator(".pop").innerText({ timeout: 2000 });
    return /\d → \d/.test(text) ? null : `it says "${text}"`;
  });
  await check(`${name}: every text has a contrast of 4.5 or more`, async () => (await page.evaluate(faint)) || null);
  await check(`${name}: nothing is wider than the page`, async () => {
    const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    return over > 0 ? `${over} px too wide at ${width}` : null;
  });
  await shoot(page, `scaled-${one.width}-${one.scheme}`);
}

await check("the keyboard alone reaches a decision and opens it", async () => {
  const { page } = wide;
  await page.evaluate(() => document.querySelectorAll("#log details[open]").forEach((node) => node.removeAttribute("open")));
  await page.evaluate(() => { document.activeElement?.blur(); window.scrollTo(0, 0); });
  for (let i = 0; i < 60; i += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement?.tagName === "SUMMARY")) {
      await page.keyboard.press("Enter");
      return (await page.evaluate(() => document.activeElement.parentElement.open)) ? null : "Enter does not open it";
    }
  }
  return "60 tabs did not reach one";
});

await check("a lost connection greys the page and says since when, and it recovers by itself", async () => {
  const { page } = readers[1];
  await page.route("**/events", (route) => route.abort());
  await page.goto(url);
  await page.waitForFunction(() => document.body.classList.contains("lost"), null, { timeout: 12_000 });
  const text = await page.locator("h1").innerText();
  await page.unroute("**/events");
  await page.waitForFunction(() => !document.body.classList.contains("lost") && document.body.dataset.level !== "lost", null, { timeout: 12_000 });
  readers[1].errors.length = 0;
  return /Disconnected/.test(text) ? null : `it said "${text}"`;
});

await check("a hidden page listens to nothing", async () => {
  const { page } = readers[3];
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { get: () => true, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  const then = await page.locator("#link span").innerText();
  await page.waitForTimeout(2500);
  const still = (await page.locator("#link span").innerText()) === then;
  await page.evaluate(() => {
    delete document.hidden;
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await page.waitForFunction((text) => document.querySelector("#link span").textContent !== text, then, { timeout: 5000 });
  return still ? null : "it went on";
});

await check("whoever prefers no motion gets none", async () => {
  const { page } = wide;
  await page.emulateMedia({ reducedMotion: "reduce" });
  const moving = await page.evaluate(() => document.getAnimations().filter((one) => one.playState === "running").length);
  await page.emulateMedia({ reducedMotion: null });
  return moving ? `${moving} animations run` : null;
});

await check("the whole page is under 150 kB", () => (wide.bytes > 20_000 && wide.bytes < 150_000 ? null : `${wide.bytes} bytes`));
console.log(`        ${wide.bytes} bytes`);
for (const one of readers) {
  await check(`${one.name}: no error in the console, no request to another host`, () => {
    const all = [...one.errors, ...one.foreign];
    return all.length ? all.slice(0, 3).join("; ") : null;
  });
}

load.kill();
await ended;
await host.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
