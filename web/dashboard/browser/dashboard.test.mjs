// The built dashboard in a real browser, before the invented server: nothing is
// refused by its policy, axe finds no serious fault, nothing is too wide for a
// telephone, and the ways through it lead where they should.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { start } from "../mock/server.mjs";
import { find, launch } from "./chromium.mjs";
import { places, settled } from "./places.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "..", "..", "dist", "dashboard");
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const path = find();
const skip = path === null && process.env.CI !== "true" ? "no Chromium is installed: run packaging/install-deps test" : false;
const options = { skip, timeout: 600_000 };
let server, fresh, browser;

before(async () => {
  if (skip) return;
  assert.ok(path, "no Chromium is installed, so the dashboard was not tested: run packaging/install-deps test");
  server = await start();
  fresh = await start({ firstRun: true });
  browser = launch(path);
});
after(async () => {
  await browser?.close();
  await server?.close();
  await fresh?.close();
});

/** A page that is signed in, at a place. */
async function open(hash, who = "operator@example.org") {
  const page = await browser.page();
  await page.scheme("light");
  await page.size(1280, 900);
  await page.send("Page.navigate", { url: server.url });
  await page.until("document.querySelector('#password, .shell')");
  await page.evaluate(`fetch("/dashboard/api/session", {method: "POST", body: JSON.stringify({email: ${JSON.stringify(who)}, password: "password"})}).then((r) => r.ok)`);
  await page.send("Page.navigate", { url: "about:blank" });
  await page.until("location.href === 'about:blank'");
  await page.send("Page.navigate", { url: server.url + hash });
  await page.until(settled, hash);
  return page;
}
async function press(page, key) {
  const more = key === "Escape" ? { windowsVirtualKeyCode: 27 } : {};
  const text = key.length === 1 ? { text: key } : {};
  await page.send("Input.dispatchKeyEvent", { type: "keyDown", key, ...text, ...more });
  await page.send("Input.dispatchKeyEvent", { type: "keyUp", key, ...more });
}
async function faults(page, name) {
  await page.evaluate(`globalThis.axe === undefined && void (0, eval)(${JSON.stringify(axe)})`).catch(() => page.send("Runtime.evaluate", { expression: axe }));
  const found = await page.evaluate(`axe.run(document, {resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then((r) => r.violations.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) => v.id + ": " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + " " + (n.any[0]?.message ?? "")).join(" | ")))`);
  assert.deepEqual(found, [], name);
}

test("the first load is small", options, () => {
  const html = readFileSync(join(dist, "index.html"), "utf8");
  assert.ok(!/<script(?![^>]*src)|<style|style=/.test(html), "something is inline");
  const seen = new Set();
  const take = (name) => {
    if (seen.has(name)) return 0;
    seen.add(name);
    const text = readFileSync(join(dist, "assets", name), "utf8");
    const imports = [...text.matchAll(/(?:from|import)"\.\/([^"]+\.js)"/g)].map((m) => m[1]);
    return gzipSync(text, { level: 6 }).length + imports.reduce((sum, other) => sum + take(other), 0);
  };
  let size = gzipSync(html).length;
  for (const [, name] of html.matchAll(/assets\/([^"]+)"/g)) size += take(name);
  // The overview comes by its own import, and its charts by another.
  const first = readFileSync(join(dist, "assets", /assets\/(index[^"]+\.js)/.exec(html)[1]), "utf8");
  for (const [, name] of first.matchAll(/assets\/((?:Overview|Badge|Panel|Act)[^"]*\.(?:js|css))/g)) size += take(name);
  for (const name of [...seen]) for (const [, other] of readFileSync(join(dist, "assets", name), "utf8").matchAll(/import\("\.\/(uPlot[^"]+\.js)"\)/g)) size += take(other);
  console.log(`first load: ${(size / 1024).toFixed(1)} KiB gzip in ${seen.size} files: ${[...seen].join(" ")}`);
  assert.ok(size <= 150 * 1024, `${size} bytes`);
});

test("every place is sound, in light and dark, wide and narrow", options, async () => {
  const page = await open("#/overview");
  for (const [name, hash] of places()) {
    await page.evaluate(`void (location.hash = ${JSON.stringify(hash)})`);
    await page.until(settled, name);
    await page.until(`document.querySelector('main [aria-busy="true"]') === null`);
    for (const scheme of ["light", "dark"]) {
      await page.scheme(scheme);
      await faults(page, `${name} in ${scheme}`);
    }
    await page.size(380, 800);
    assert.ok((await page.evaluate("document.documentElement.scrollWidth - innerWidth")) <= 0, `${name} is too wide at 380`);
    await faults(page, `${name} at 380`);
    await page.size(1280, 900);
  }
  assert.deepEqual(page.complaints, []);
  await page.close();
});

test("keys lead through the pages", options, async () => {
  const page = await open("#/overview");
  await press(page, "g");
  await press(page, "j");
  await page.until("location.hash === '#/jobs' && document.activeElement?.id === 'page-title'", "the heading of jobs has the focus");
  await page.until("document.querySelector('[data-filter]')", "there is a filter");
  await press(page, "/");
  await page.until("document.activeElement?.matches('[data-filter]')", "the filter has the focus");
  await press(page, "g");
  await press(page, "o");
  assert.equal(await page.evaluate("document.activeElement.value"), "go", "letters in a field are text");
  await page.until("location.hash === '#/jobs?error=go'");
  await press(page, "Escape");
  await press(page, "?");
  await page.until("document.querySelector('dialog[open] #help-title')");
  await faults(page, "help");
  await press(page, "Escape");
  await page.until("!document.querySelector('dialog[open]')");
  await page.close();
});

test("an act on many says how many, and can be declined", options, async () => {
  const page = await open("#/jobs?state=dead");
  const dead = "Number(document.querySelector('.segments [aria-current=true] .dim').textContent)";
  const before = await page.evaluate(dead);
  const button = (text) => `[...document.querySelectorAll('button')].find((b) => b.textContent.trim().startsWith(${JSON.stringify(text)}))`;
  await page.evaluate(`(${button("Retry all matching")}).focus(); (${button("Retry all matching")}).click()`);
  await page.until(`${button(`Retry ${before} jobs`)} === document.activeElement`, "the question with its number");
  await faults(page, "question");
  await press(page, "Escape");
  await page.until("!document.querySelector('dialog[open]')");
  assert.equal(await page.evaluate(dead), before);
  await page.until(`document.activeElement === ${button("Retry all matching")}`, "the focus is back");
  await page.evaluate("document.querySelector('tbody input').click()");
  await page.evaluate(`${button("Retry 1 job")}.click()`);
  await page.until("document.querySelector('dialog[open] .first')");
  await page.evaluate("document.querySelector('dialog[open] .first').click()");
  await page.until("document.querySelector('.toast')?.textContent.includes('Retried 1 job.')");
  await page.until(`${dead} === ${before - 1}`);
  await page.close();
});

test("a viewer sees what may be done, and why not by them", options, async () => {
  const page = await open("#/jobs?state=dead", "viewer@example.org");
  const acts = "[...document.querySelectorAll('main .button[aria-disabled]')]";
  assert.ok((await page.evaluate(`${acts}.length`)) > 3);
  assert.ok(await page.evaluate(`${acts}.every((b) => b.getAttribute('aria-disabled') === 'true' && b.title === 'Only an operator may do that.')`));
  await page.evaluate(`${acts}[0].click()`);
  assert.equal(await page.evaluate("document.querySelector('dialog[open]')"), null);
  await faults(page, "viewer");
  await page.close();
});

test("a session that ends leaves the place for who comes back", options, async () => {
  const page = await open("#/jobs?state=dead");
  await page.evaluate(`fetch("/dashboard/api/session").then((r) => r.json()).then((s) => fetch("/dashboard/api/session", {method: "DELETE", headers: {"X-CSRF-Token": s.csrf}}))`);
  await page.until("document.querySelector('.door #password')", "the sign-in page");
  await faults(page, "sign in");
  const type = (id, text) => `{ const i = document.getElementById(${JSON.stringify(id)}); i.value = ${JSON.stringify(text)}; i.dispatchEvent(new Event("input", {bubbles: true})); }`;
  await page.evaluate(`${type("email", "operator@example.org")} ${type("password", "wrong")} document.querySelector('form button').click()`);
  await page.until("document.querySelector('[role=alert]')?.textContent.includes('Wrong address or password.')");
  await page.evaluate(`${type("password", "password")} document.querySelector('form button').click()`);
  await page.until("document.querySelector('.shell') && location.hash === '#/jobs?state=dead'");
  await page.close();
});

test("the first run makes an operator and leads to the checklist", options, async () => {
  const page = await browser.page(`${fresh.url}#/overview`);
  await page.until("document.querySelector('.door .copy')", "the welcome");
  await faults(page, "welcome");
  await page.evaluate("void (location.hash = '#/first-run/welcome')");
  await page.until("document.querySelector('#password-hint')");
  await faults(page, "first run");
  await page.evaluate(`for (const [id, text] of [["name", "Olga"], ["email", "o@example.org"], ["password", "three random words"]]) { const i = document.getElementById(id); i.value = text; i.dispatchEvent(new Event("input", {bubbles: true})); } setTimeout(() => document.querySelector('form button').click(), 0)`);
  await page.until("document.querySelector('.shell') && location.hash === '#/settings?tab=checklist'");
  assert.deepEqual(page.complaints, []);
  await page.close();
});
