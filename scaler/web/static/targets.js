// The list of targets: a row each, kept up to date in place, and found by a word.
import { $, make, number, plural, say } from "./dom.js";

const SEARCHED_FROM = 12;
const rows = new Map();
let chosen = "";
let choose = () => {};

export function onChoice(call) { choose = call; }

function newRow(name) {
  const row = { data: null, name: make("span", { class: "t-name", title: name }, name), num: make("span", { class: "t-num", title: "workers running / wanted" }), text: make("span", { class: "t-text" }) };
  row.button = make("button", { type: "button", class: "target" }, make("span", { class: "t-dot", "aria-hidden": "true" }), row.name, row.num, row.text);
  row.button.addEventListener("click", () => choose(name));
  row.root = make("li", {}, row.button);
  return row;
}

// These targets are there, in this order.
export function keepTargets(names) {
  const present = new Set(names);
  for (const [name, row] of rows) if (!present.has(name)) { row.root.remove(); rows.delete(name); }
  let place = $("target-list").firstElementChild;
  for (const name of names) {
    let row = rows.get(name);
    if (!row) { row = newRow(name); rows.set(name, row); }
    if (row.root === place) place = place.nextElementSibling;
    else $("target-list").insertBefore(row.root, place);
  }
  $("targets").hidden = names.length < 2;
  $("target-search-row").hidden = names.length < SEARCHED_FROM;
  markTarget(chosen);
  filter();
}

// Those that have changed.
export function showTargets(changed) {
  for (const data of changed) {
    const row = rows.get(data.name);
    if (!row) continue;
    row.data = data;
    row.button.className = `target ${data.level}`;
    say(row.num, `${number(data.active_workers)} / ${number(data.target_workers)}`);
    say(row.text, data.text);
  }
  filter();
}

export function markTarget(name) {
  chosen = name;
  for (const [each, row] of rows) row.button.setAttribute("aria-current", each === name);
}

export function heldTargets() {
  const held = [...rows.values()].filter(({ data }) => data && data.bound === "unknown" && data.target_workers !== null);
  return held.map(({ data }) => `${data.name} at ${plural(data.target_workers, "worker")}`);
}

function filter() {
  const word = $("target-search").value.trim().toLowerCase();
  let found = 0;
  const levels = new Map();
  for (const [name, { data, root }] of rows) {
    const fits = !word || name.toLowerCase().includes(word) || (data !== null && data.text.toLowerCase().includes(word));
    if (root.hidden === fits) root.hidden = !fits;
    found += fits;
    if (data) levels.set(data.level, (levels.get(data.level) || 0) + 1);
  }
  const trouble = ["bad", "warning"].filter((level) => levels.has(level)).map((level) => `${levels.get(level)} ${level}`);
  say($("target-sum"), [word ? `${found} of ${plural(rows.size, "target")}` : plural(rows.size, "target"), ...trouble].join(", "));
}

$("target-search").addEventListener("input", filter);
