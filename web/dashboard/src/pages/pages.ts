// The pages, in the order of the sidebar. Each comes by its own import, so
// that the first load carries the shell and one page alone.
import type { Component } from "svelte";
import type { IconName } from "../parts/Icon.svelte";

export interface PageEntry {
  title: string;
  icon: IconName;
  /** What live stream the page follows; pages without one follow the overview for the verdict. */
  topic: string;
  load: () => Promise<{ default: Component }>;
}

export const PAGES: Readonly<Record<string, PageEntry>> = {
  overview: { title: "Overview", icon: "overview", topic: "overview", load: () => import("./overview/Overview.svelte") },
  jobs: { title: "Jobs", icon: "jobs", topic: "jobs", load: () => import("./jobs/Jobs.svelte") },
  schedules: { title: "Schedules", icon: "schedules", topic: "schedules", load: () => import("./schedules/Schedules.svelte") },
  realtime: { title: "Realtime", icon: "realtime", topic: "realtime", load: () => import("./realtime/Realtime.svelte") },
  database: { title: "Database", icon: "database", topic: "database", load: () => import("./database/Database.svelte") },
  broker: { title: "Broker", icon: "broker", topic: "broker", load: () => import("./broker/Broker.svelte") },
  mentor: { title: "Mentor", icon: "mentor", topic: "mentor", load: () => import("./mentor/Mentor.svelte") },
  storage: { title: "Storage", icon: "storage", topic: "storage", load: () => import("./storage/Storage.svelte") },
  search: { title: "Search", icon: "search", topic: "search", load: () => import("./search/Search.svelte") },
  payments: { title: "Payments", icon: "payments", topic: "payments", load: () => import("./payments/Payments.svelte") },
  logs: { title: "Logs", icon: "logs", topic: "overview", load: () => import("./logs/Logs.svelte") },
  people: { title: "People", icon: "people", topic: "overview", load: () => import("./people/People.svelte") },
  settings: { title: "Settings", icon: "settings", topic: "overview", load: () => import("./settings/Settings.svelte") },
};

/** Pages that the sidebar does not list; its mark stands at the one they belong to. */
export const HIDDEN: Readonly<Record<string, PageEntry & { under: string }>> = {
  explain: { title: "Explain", icon: "logs", topic: "overview", under: "logs", load: () => import("./logs/ExplainPage.svelte") },
};

/** The page of a name, if there is one. */
export function entry(name: string): PageEntry | null {
  return PAGES[name] ?? HIDDEN[name] ?? null;
}
