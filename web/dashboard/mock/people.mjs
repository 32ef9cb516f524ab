import { createHash } from "node:crypto";
import { ago, chance, pick } from "./chance.mjs";
const random = chance(21);
const FIRST = ["Ann", "Ben", "Chidi", "Dunja", "Elif", "Farid", "Greta", "Hana", "Iván", "Jae", "Katya", "Liu", "Mira", "Noor"], LAST = ["Abbott", "Brandt", "Okafor", "Petrović", "Yilmaz", "Haddad", "Lind", "Sato", "Reyes", "Kim"];
const all = Array.from({ length: 130 }, (_, i) => {
  const name = i === 0 ? "Olga Operator" : i === 1 ? "Vera Viewer" : `${pick(random, FIRST)} ${pick(random, LAST)}`, handle = name.toLowerCase().replace(/[^a-z]+/g, "") + i;
  return { id: `72153098452137902${String(i + 10)}`, email: i === 0 ? "operator@example.org" : i === 1 ? "viewer@example.org" : `${handle}@example.org`, name, handle, is_active: random() > 0.06, role: i === 0 ? "operator" : i === 1 ? "viewer" : "user", created_at: ago(86400 * (i + 2)), last_login: random() > 0.15 ? ago(3600 * i * random()) : null };
});
all[0].id = "7215309845213790208";
export const people = {
  list: (q) => all.filter((p) => (!q.role || p.role === q.role) && (!q.active || String(p.is_active) === q.active) && (!q.q || `${p.name} ${p.email} ${p.handle} ${p.id}`.toLowerCase().includes(q.q.toLowerCase()))),
  detail(id) {
    const p = all.find((x) => x.id === id);
    return p && { ...p, sessions: p.is_active ? [{ id: "1", created_at: ago(7200), expires_at: ago(-6 * 86400) }, { id: "2", created_at: ago(90000), expires_at: ago(-5 * 86400) }] : [], devices: 2 };
  },
  act(id, what, body) {
    const p = all.find((x) => x.id === id);
    if (!p) return null;
    if (p === all[0] && what !== "end-sessions") throw new Error("You can't do that to yourself: ask another operator.");
    if (what === "role") p.role = body.role;
    else if (what !== "end-sessions") p.is_active = what === "activate";
    return this.detail(id);
  },
};
const hash = (n) => createHash("sha256").update(String(n)).digest("hex");
const entries = Array.from({ length: 140 }, (_, i) => ({ id: String(1287 - i), created_at: ago(i * 4100), actor_user: i % 7 === 3 ? null : all[0].id, actor_name: i % 7 === 3 ? null : "Olga Operator", actor_ip: "203.0.113.7", action: ["jobs.retry", "queue.pause", "person.role", "session.create", "person.deactivate"][i % 5], object_type: ["job", "queue", "user", "session", "user"][i % 5], object_id: i % 5 === 1 ? "payments" : all[(i % 12) + 2].id, metadata: i % 5 === 2 ? { from: "user", to: "viewer" } : {}, hash_prev: hash(1286 - i), hash_self: hash(1287 - i) }));
export const audit = { list: (q) => entries.filter((e) => (!q.action || e.action.includes(q.action)) && (!q.actor || e.actor_user === q.actor) && (!q.object_id || e.object_id === q.object_id)) };
