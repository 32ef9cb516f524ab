// A Chromium that is driven over a pipe: messages of the DevTools protocol,
// each ended by a NUL. A pipe needs no port that others could find.
import { spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

/** The path of an installed browser, or null. */
export function find() {
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    for (const dir of (process.env.PATH ?? "").split(delimiter)) {
      try {
        accessSync(join(dir, name), constants.X_OK);
        return join(dir, name);
      } catch {
        // not in this folder
      }
    }
  }
  return null;
}

/** Starts a browser. Its end is close(). */
export function launch(path) {
  const profile = mkdtempSync(join(tmpdir(), "selflink-dashboard-"));
  const child = spawn(path, [
    "--headless", "--remote-debugging-pipe", `--user-data-dir=${profile}`,
    "--no-sandbox", // its sandbox refuses root, which CI is
    "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "about:blank",
  ], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"], detached: true });
  const waiting = new Map();
  const listeners = new Set();
  let last = 0;
  let rest = Buffer.alloc(0);
  child.stdio[4].on("data", (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
      const message = JSON.parse(rest.subarray(0, end).toString());
      rest = rest.subarray(end + 1);
      if (message.id === undefined) for (const listener of listeners) listener(message);
      else {
        const { resolve, reject } = waiting.get(message.id);
        waiting.delete(message.id);
        if (message.error) reject(new Error(message.error.message));
        else resolve(message.result);
      }
    }
  });
  const gone = new Promise((resolve) => child.on("exit", resolve));
  void gone.then(() => {
    for (const { reject } of waiting.values()) reject(new Error("Chromium is gone"));
    waiting.clear();
  });
  const call = (method, params = {}, sessionId) => new Promise((resolve, reject) => {
    const id = ++last;
    waiting.set(id, { resolve, reject });
    child.stdio[3].write(`${JSON.stringify({ id, method, params, ...(sessionId ? { sessionId } : {}) })}\0`);
  });
  return {
    call,
    listen: (listener) => listeners.add(listener),
    page: (url) => openPage(call, listeners, url),
    async close() {
      try {
        process.kill(-child.pid, "SIGKILL");
      } catch {
        // it had ended already
      }
      await gone;
      rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
    },
  };
}

async function openPage(call, listeners, url) {
  const { targetId } = await call("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
  const complaints = []; // what the page wrote as an error, and what its policy refused
  listeners.add((m) => {
    if (m.sessionId !== sessionId) return;
    if (m.method === "Runtime.exceptionThrown") complaints.push(m.params.exceptionDetails.exception?.description ?? m.params.exceptionDetails.text);
    if (m.method === "Runtime.consoleAPICalled" && ["error", "warning"].includes(m.params.type)) complaints.push(m.params.args.map((a) => a.value ?? a.description).join(" "));
    if (m.method === "Log.entryAdded" && ["security", "violation", "javascript"].includes(m.params.entry.source)) complaints.push(m.params.entry.text);
  });
  const send = (method, params) => call(method, params, sessionId);
  await send("Runtime.enable");
  await send("Log.enable");
  await send("Page.enable");
  const page = {
    send, complaints,
    async evaluate(expression) {
      const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value;
    },
    /** Waits until an expression holds. */
    async until(expression, what = expression) {
      for (const end = Date.now() + 30_000; Date.now() < end; ) {
        if (await page.evaluate(`!!(${expression})`).catch(() => false)) return;
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
      throw new Error(`the page never came to: ${what}`);
    },
    size: (width, height) => send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false }),
    scheme: (value) => send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value }, { name: "prefers-reduced-motion", value: "reduce" }] }),
    async screenshot(full = true) {
      const { cssContentSize: c } = await send("Page.getLayoutMetrics");
      const clip = full ? { clip: { x: 0, y: 0, width: c.width, height: Math.min(c.height, 6000), scale: 1 }, captureBeyondViewport: true } : {};
      const { data } = await send("Page.captureScreenshot", { format: "png", ...clip });
      return Buffer.from(data, "base64");
    },
    close: () => call("Target.closeTarget", { targetId }),
  };
  if (url) await send("Page.navigate", { url });
  return page;
}
