// Every place of the dashboard, and how to tell that it is drawn.
import { jobsWorld } from "../mock/jobs.mjs";

export const places = () => [
  ["overview", "#/overview"],
  ["jobs", "#/jobs"],
  ["jobs-dead", "#/jobs?state=dead"],
  ["jobs-errors", "#/jobs?state=dead&view=errors"],
  ["job", `#/jobs/${jobsWorld.sample()}`],
  ["schedules", "#/schedules"],
  ["schedule", "#/schedules/mail.digest"],
  ["realtime", "#/realtime"],
  ["database", "#/database"],
  ["broker", "#/broker"],
  ["broker-peek", "#/broker?peek=EVENTS"],
  ["mentor", "#/mentor"],
  ["storage", "#/storage"],
  ["search", "#/search"],
  ["payments", "#/payments"],
  ["checkouts", "#/payments?tab=checkouts"],
  ["payment-events", "#/payments?tab=events"],
  ["logs", "#/logs"],
  ["requests", "#/logs?tab=requests"],
  ["explain", "#/explain/req_01JD8Y6T3M"],
  ["people", "#/people"],
  ["person", "#/people/7215309845213790215"],
  ["audit", "#/people?tab=audit"],
  ["settings", "#/settings"],
  ["checklist", "#/settings?tab=checklist"],
];

/** True in the page when nothing is on its way any more. */
export const settled = "document.querySelector('main h1, main .panel') && !document.querySelector('.waiting') && document.querySelector('.mark.live, .mark.paused')";
