// Serves the built dashboard and an invented server behind it, for work on the
// pages and for tests. It is no part of the appliance: nothing here is embedded.
//
//   node dashboard/mock/server.mjs [port]     then open /dashboard/
//
// Sign in as operator@example.org or viewer@example.org, password "password".
import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { audit, people } from "./people.mjs";
import { bulk, jobDetail, jobErrors, jobItems, jobs, jobsWorld } from "./jobs.mjs";
import { broker, database, mentor, messages, realtime, connections } from "./parts.mjs";
import { checkouts, files, paymentEvents, payments, search, storage, tried } from "./services.mjs";
import { days, metrics, overview } from "./overview.mjs";
import { checklist, firings, schedules, settings } from "./settings.mjs";
import { explain, line, logs, requests } from "./logs.mjs";

const dist = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "dist", "dashboard");
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
  "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain" };

/** Starts the server; firstRun: no admin exists yet. Resolves to {url, close}. */
export async function start({ port = 0, firstRun = false } = {}) {
  const state = { sessions: new Map(), firstRun, streams: new Set() };
  const server = createServer((req, res) => {
    handle(state, req, res).catch((error) => fail(res, error.status ?? 500, error.message));
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/dashboard/`,
    close: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections?.();
    }),
  };
}

async function handle(state, req, res) {
  const url = new URL(req.url, "http://mock");
  if (url.pathname === "/" || url.pathname === "/dashboard") return res.writeHead(302, { Location: "/dashboard/" }).end();
  if (url.pathname.startsWith("/dashboard/api/")) return answer(state, req, res, url);
  const name = url.pathname.replace(/^\/dashboard\//, "") || "index.html";
  const file = join(dist, normalize(name));
  if (!file.startsWith(dist) || !(await stat(file).then((s) => s.isFile(), () => false))) return fail(res, 404, "Not found.");
  res.writeHead(200, {
    "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": name.startsWith("assets/") ? "public, max-age=31536000, immutable" : "no-cache",
  });
  createReadStream(file).pipe(res);
}

function fail(res, status, detail) {
  if (res.headersSent) return res.end();
  send(res, status, { detail });
}
function send(res, status, body) {
  if (status === 204) return res.writeHead(204).end();
  res.writeHead(status, { "Content-Type": "application/json", "Cache-Control": "no-store" }).end(JSON.stringify(body));
}
const refuse = (status, message) => Object.assign(new Error(message), { status });

async function bodyOf(req) {
  let text = "";
  for await (const chunk of req) text += chunk;
  return text === "" ? {} : JSON.parse(text);
}

function signIn(state, res, role, email, name) {
  const id = randomUUID();
  const session = {
    state: "signed_in", user: { id: "7215309845213790208", email, name, role },
    csrf: createHash("sha256").update(id).digest("hex").slice(0, 32),
    expires_at: new Date(Date.now() + 8 * 3600e3).toISOString(), version: "1.4.0", commit: "9f2c1ab", node: "node-1",
  };
  state.sessions.set(id, session);
  res.setHeader("Set-Cookie", `mock=${id}; HttpOnly; SameSite=Strict; Path=/dashboard`);
  send(res, 200, session);
}

async function answer(state, req, res, url) {
  const path = url.pathname.replace("/dashboard/api/", "").replace(/\/$/, "").split("/").map(decodeURIComponent);
  const key = /mock=([^;]+)/.exec(req.headers.cookie ?? "")?.[1];
  const session = state.sessions.get(key);
  const route = `${req.method} ${path.join("/")}`;
  if (route === "GET session") return send(res, 200, session ?? { state: "signed_out", first_run: state.firstRun });
  if (route === "POST session") {
    const { email, password } = await bodyOf(req);
    if (password !== "password") throw refuse(400, "Wrong address or password.");
    if (email.startsWith("user@")) throw refuse(403, "This account may not use the dashboard.");
    const viewer = email.startsWith("viewer@");
    return signIn(state, res, viewer ? "viewer" : "operator", email, viewer ? "Vera Viewer" : "Olga Operator");
  }
  if (route === "POST first-run") {
    const { token, email, name, password } = await bodyOf(req);
    if (token !== "welcome" || !state.firstRun) throw refuse(410, "This link was used already, or an operator exists. Sign in instead, or make a new link with: selflink admin create");
    if (password === "password") return send(res, 400, { password: ["This password is too common."] });
    state.firstRun = false;
    return signIn(state, res, "operator", email, name);
  }
  if (!session) throw refuse(401, "Sign in.");
  if (req.method !== "GET" && req.headers["x-csrf-token"] !== session.csrf) throw refuse(403, "The CSRF token is missing or wrong.");
  if (route === "DELETE session") {
    state.sessions.delete(key);
    return send(res, 204);
  }
  if (req.method === "GET") return read(state, res, path, url, req, key);
  if (session.user.role !== "operator") throw refuse(403, "Only an operator may do that.");
  return change(res, path, await bodyOf(req));
}

const TOPICS = { overview, jobs, schedules, realtime, database, broker, mentor, storage, search, payments };

function page(items, url) {
  const limit = Number(url.searchParams.get("limit") ?? 50);
  const from = Number(url.searchParams.get("cursor") ?? 0);
  return { items: items.slice(from, from + limit), next: from + limit < items.length ? String(from + limit) : null };
}

async function read(state, res, path, url, req, key) {
  const q = Object.fromEntries(url.searchParams);
  const [first, second, third] = path;
  if (path.length === 1 && TOPICS[first]) return send(res, 200, TOPICS[first]());
  switch (`${first}${second === undefined ? "" : ` ${second}`}`) {
    case "live": return stream(res, req, q.topic, state, key);
    case "overview metrics": return send(res, 200, metrics(q.range));
    case "overview days": return send(res, 200, { days: days() });
    case "jobs list": return send(res, 200, page(jobItems(q), url));
    case "jobs errors": return send(res, 200, { groups: jobErrors() });
    case "realtime connections": return send(res, 200, { items: connections(q.user) });
    case "storage files": return send(res, 200, page(files(), url));
    case "payments checkouts": return send(res, 200, page(checkouts(q), url));
    case "payments events": return send(res, 200, page(paymentEvents(), url));
    case "logs": return send(res, 200, { ...page(logs(q), url), oldest_at: new Date(Date.now() - 6 * 3600e3).toISOString(), components: ["broker", "database", "http", "jobs", "mentor", "realtime"] });
    case "logs live": return lines(res, req, q);
    case "requests": return send(res, 200, page(requests(q), url));
    case "people": return send(res, 200, page(people.list(q), url));
    case "audit": return send(res, 200, page(audit.list(q), url));
    case "audit verify": return send(res, 200, { checked: 1287, ok: true, first_bad: null, truncated: false });
    case "settings": return send(res, 200, settings());
    case "settings checklist": return send(res, 200, { items: checklist() });
    case "settings diagnostics":
      res.writeHead(200, { "Content-Type": "application/gzip", "Content-Disposition": 'attachment; filename="selflink-diagnostics.tar.gz"' });
      return res.end("mock");
  }
  if (first === "jobs") return found(res, jobDetail(second));
  if (first === "schedules" && third === "firings") return send(res, 200, page(firings(second), url));
  if (first === "broker" && path[3] === "messages") return send(res, 200, page(messages(third), url));
  if (first === "explain") return found(res, explain(second));
  if (first === "people") return found(res, people.detail(second));
  throw refuse(404, "Not found.");
}

function found(res, value) {
  if (!value) throw refuse(404, "Not found.");
  send(res, 200, value);
}

function change(res, path, body) {
  const [first, second, third] = path;
  if (first === "jobs" && second === "bulk") return send(res, 200, bulk(body));
  if (first === "jobs" && third === "delete") {
    jobsWorld.delete(second);
    return send(res, 204);
  }
  if (first === "jobs") return found(res, jobsWorld.act(second, third));
  if (first === "queues") return found(res, jobsWorld.queue(second, third === "pause"));
  if (first === "schedules" && third === "run") return send(res, 202, { started_at: new Date().toISOString() });
  if (first === "schedules") return found(res, schedules.pause(second, third === "pause"));
  if (first === "realtime") return send(res, 200, { closed: 2 });
  if (first === "mentor") return send(res, 200, { answer: `You asked: “${body.prompt}”\n\nTake one small step today, and write down how it felt.`, model: "llama3.1:8b", latency_ms: 1840, first_token_ms: 310, tokens_in: 24, tokens_out: 61 });
  if (first === "storage") return send(res, 200, storage().last_check);
  if (first === "search" && second === "try") return send(res, 200, tried(body.q));
  if (first === "search") return send(res, 202, { job_id: jobsWorld.sample() });
  if (first === "payments") return send(res, 200, payments().ledger.last_check);
  if (first === "people") {
    try {
      return found(res, people.act(second, third, body));
    } catch (error) {
      throw refuse(409, error.message);
    }
  }
  throw refuse(404, "Not found.");
}

function open(res, req, every, tick) {
  res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  tick(true);
  const timer = setInterval(() => tick(false), every);
  req.on("close", () => clearInterval(timer));
}
function stream(res, req, topic, state, key) {
  open(res, req, 2000, (first) => {
    if (!state.sessions.has(key)) {
      res.write(`event: gone\ndata: ${JSON.stringify({ detail: "Your session ended." })}\n\n`);
      return res.end();
    }
    const { verdict, problems } = overview();
    if (first) res.write(`event: verdict\ndata: ${JSON.stringify({ ...verdict, problems: problems.length })}\n\n`);
    res.write(`event: ${topic}\ndata: ${JSON.stringify(TOPICS[topic]())}\n\n`);
  });
}
function lines(res, req, q) {
  open(res, req, 700, () => {
    const item = line(Date.now());
    if (logs(q, [item]).length > 0) res.write(`event: line\nid: ${item.id}\ndata: ${JSON.stringify(item)}\n\n`);
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await start({ port: Number(process.argv[2] ?? 5174), firstRun: process.env.FIRST_RUN === "1" });
  console.log(url);
}
