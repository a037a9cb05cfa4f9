// The last decisions: a sentence each, opened to what it was made from.
import { $, clock, make, number, span } from "./dom.js";

const entries = new Map();

function promLink(base, query) {
  const link = make("a", { href: `${base}/graph?g0.expr=${encodeURIComponent(query)}&g0.tab=0&g0.range_input=1h`, target: "_blank", rel: "noreferrer" });
  link.append(make("code", {}, query));
  return link;
}

function inputs(decision, base) {
  const rows = Object.entries(decision.inputs).map(([name, input]) => {
    const unknown = "reason" in input;
    return make("tr", {},
      make("th", { scope: "row" }, name.replaceAll("_", " ")),
      make("td", unknown ? { class: "unknown" } : {}, unknown ? `unknown: ${input.reason}` : `${number(input.value)} (${span(input.age_s)} old)`),
      make("td", {}, input.query ? promLink(base, input.query) : ""));
  });
  const head = make("tr", {}, ...["input", "value", "asked as"].map((text) => make("th", { scope: "col" }, text)));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

function inside(decision, base) {
  const steps = Object.entries(decision.proposals).map(([name, value]) => `${name} ${number(value)}`).join(" → ");
  const box = make("div", { class: "inside" });
  if (steps) box.append(make("p", {}, `Steps: ${steps} → ${number(decision.replicas)}`));
  if (decision.bound) box.append(make("p", {}, `Bound by ${decision.bound}`));
  if (decision.applied) box.append(make("p", {}, `Done: ${decision.applied}`));
  if (decision.note) box.append(make("p", {}, `Note: ${decision.note}`));
  box.append(inputs(decision, base));
  return box;
}

function entry(decision, base) {
  const before = decision.fleet ? decision.fleet.running : "?", wanted = number(decision.replicas);
  const chip = decision.action === "up" ? `▲ ${before} → ${wanted}` : decision.action === "down" ? `▼ ${before} → ${wanted}` : decision.action === "hold" ? `■ hold ${wanted}` : `· ${wanted}`;
  const why = decision.reason.replace(/^[^:]*: /, "");
  const root = make("details", { class: "decision" },
    make("summary", {},
      make("time", { datetime: new Date(decision.at * 1000).toISOString() }, clock(decision.at)),
      make("span", { class: `chip ${decision.action}` }, chip),
      make("span", { class: "why" }, why)));
  // Built when it is opened: most never are.
  root.addEventListener("toggle", () => { if (root.open && root.children.length === 1) root.append(inside(decision, base)); });
  return root;
}

export function showDecisions(decisions, base) {
  const list = $("decisions");
  const wanted = new Set(decisions.map((decision) => decision.at));
  for (const [at, root] of entries) if (!wanted.has(at)) { root.remove(); entries.delete(at); }
  let place = list.firstElementChild;
  for (const decision of decisions) {
    let root = entries.get(decision.at);
    if (!root) { root = entry(decision, base); entries.set(decision.at, root); list.insertBefore(root, place); }
    else place = root.nextElementSibling;
  }
}

export function forgetDecisions() {
  entries.clear();
  $("decisions").replaceChildren();
}
