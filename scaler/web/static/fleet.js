// One mark per worker, updated in place.
import { $, make, now, plural, say, span } from "./dom.js";

const MANY = 60;
const ORDER = ["busy", "idle", "starting", "draining", "unhealthy"];
const marks = new Map();
let crew = [];
let prefix = "";

// What all ids begin with says nothing about one of them.
const short = (id) => (id.startsWith(prefix) && id.length > prefix.length ? id.slice(prefix.length).replace(/^[-._]+/, "") : id);

function describe(worker) {
  const name = worker.job_id === null ? "" : ` ${worker.job_id}`;
  const job = worker.progress === null ? "" : `, job${name} ${Math.round(worker.progress * 100)} % done`;
  const seen = worker.last_seen === null ? "" : `, heartbeat ${span(now() - worker.last_seen)} ago`;
  return `${worker.id}: ${worker.state} for ${span(now() - worker.since)}${job}${seen}`;
}

function newMark() {
  const fill = make("div", { class: "fill" });
  const mark = {
    id: make("p", { class: "w-id" }), state: make("p", { class: "w-state" }), job: make("p", { class: "w-job" }), seen: make("p", { class: "w-seen" }),
    track: make("div", { class: "track", "aria-hidden": "true" }, fill), fill, known: "", note: make("span", { class: "hidden" }),
  };
  mark.root = make("div", { class: "w", role: "listitem" }, mark.note, mark.id, mark.state, mark.job, mark.track, mark.seen);
  return mark;
}

function update(mark, worker, many) {
  const known = `${worker.state} ${worker.job_id} ${worker.progress} ${worker.last_seen} ${many}`;
  if (mark.known !== known) {
    mark.known = known;
    mark.root.className = `w ${worker.state}`;
    mark.root.title = describe(worker);
    say(mark.note, many ? mark.root.title : "");
    mark.fill.style.setProperty("--p", worker.progress ?? 0);
    say(mark.id, short(worker.id));
    say(mark.job, many || worker.job_id === null ? "" : `job ${worker.job_id}`);
  }
  if (!many) age(mark, worker);
}

function age(mark, worker) {
  const share = worker.progress === null ? "" : ` · ${Math.round(worker.progress * 100)} %`;
  say(mark.state, `${worker.state} ${span(now() - worker.since)}${share}`);
  say(mark.seen, worker.last_seen === null ? "heartbeat unknown" : `heartbeat ${span(now() - worker.last_seen)} ago`);
}

export function showFleet(workers, service = "") {
  crew = workers;
  prefix = service;
  const list = $("fleet"), many = workers.length > MANY;
  list.classList.toggle("many", many);
  const present = new Set(workers.map((worker) => worker.id));
  for (const [id, mark] of marks) {
    if (!present.has(id)) { mark.root.remove(); marks.delete(id); }
  }
  const fresh = [];
  workers.forEach((worker) => {
    let mark = marks.get(worker.id);
    if (!mark) { mark = newMark(); marks.set(worker.id, mark); fresh.push(mark.root); }
    update(mark, worker, many);
  });
  list.append(...fresh);
  // A list without items is no list.
  if (workers.length) list.setAttribute("role", "list"); else list.removeAttribute("role");
  const counts = new Map();
  for (const { state } of workers) counts.set(state, (counts.get(state) || 0) + 1);
  const parts = ORDER.filter((state) => counts.has(state)).map((state) => `${counts.get(state)} ${state}`);
  say($("fleet-sum"), workers.length ? `${plural(workers.length, "worker")}: ${parts.join(", ")}` : "no worker is known");
}

export function ageFleet() {
  if (crew.length > MANY) return;
  for (const worker of crew) age(marks.get(worker.id), worker);
}
