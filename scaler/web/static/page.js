// The status page: what the server's events say, shown as they come.
import { $, clock, make, now, number, plural, say, span } from "./dom.js";
import { Chart } from "./chart.js";
import { forgetDecisions, showDecisions } from "./decisions.js";
import { ageFleet, showFleet } from "./fleet.js";
import { heldTargets, keepTargets, markTarget, onChoice, showTargets } from "./targets.js";
import { act, get, signedIn, signIn, Stream } from "./net.js";

const shown = { target: "", range: "1h", status: null, system: null, role: "look", acting: false, lost: null, decisions: [], alerts: [] };
const PROBLEMS = 4;
const chart = new Chart($("chart"), $("chart-read"));

// Sections

const sections = {
  system(data) { shown.system = data; banners(); showAlerts(shown.alerts); say($("version"), `Autoscaler ${data.version}`); grafana(); },
  names(data) {
    keepTargets(data);
    if (!data.includes(shown.target)) begin();
  },
  targets(data) { showTargets(data); banners(); },
  status(data) { shown.status = data; hero(); },
  fleet: (data) => showFleet(data, shown.status?.service),
  explanation: (data) => say($("sentence"), data),
  decisions(data) { shown.decisions = data; showDecisions(data, shown.system ? shown.system.prometheus_url : ""); },
  orders: showOrders,
  chart: (data) => chart.show(data),
  events: (data) => chart.mark(data),
  alerts(data) { shown.alerts = data; showAlerts(data); },
};

function hero() {
  const status = shown.status;
  document.title = `${status.verdict.text} · ${status.name}`;
  say($("name"), status.name);
  say($("queue"), `queue ${status.queue} · ${status.orchestrator} · ${status.service}`);
  $("verdict").className = `verdict ${status.verdict.level}`;
  say($("verdict-text"), status.verdict.text);
  say($("n-waiting"), number(status.queue_depth));
  say($("n-flight"), number(status.in_flight));
  const notes = [];
  if (status.starting_workers) notes.push(`${status.starting_workers} starting`);
  if (status.draining_workers) notes.push(`${status.draining_workers} draining`);
  $("n-workers").replaceChildren(number(status.active_workers), make("small", {}, notes.length ? ` ${notes.join(", ")}` : ""));
  say($("n-target"), number(status.target_workers));
  say($("n-bounds"), `${status.min_workers} – ${status.max_workers}`);
  // Without a parking queue nothing has ever been parked.
  say($("n-parked"), status.parked_jobs === null ? "–" : number(status.parked_jobs));
  $("n-parked").classList.toggle("c-bad", status.parked_jobs > 0);
  $("do-resume").hidden = !status.order;
  $("do-pause").hidden = Boolean(status.order) && status.order.order === "pause";
  since();
}

function since() {
  const status = shown.status;
  if (!status) return;
  let text = "";
  const order = status.order;
  if (order) text = `${order.reason} · ${order.until ? `ends ${clock(order.until)}, in ${span(order.until - now())}` : "until resumed"}`;
  else if (status.verdict.since) text = `since ${clock(status.verdict.since)}, ${span(now() - status.verdict.since)}`;
  say($("verdict-since"), text);
}

function banners() {
  const found = [], system = shown.system;
  if (shown.lost !== null) found.push(["The scaler does not answer this page", `since ${clock(shown.lost)}. What is shown is as it was then.`]);
  if (system && system.prometheus_error) {
    const when = system.prometheus_silent_since ? ` since ${clock(system.prometheus_silent_since)}` : "";
    const held = heldTargets();
    const what = held.length ? `Held: ${held.slice(0, 6).join(", ")}${held.length > 6 ? ` and ${held.length - 6} more` : ""}.` : "Nothing is scaled down meanwhile.";
    found.push([`Prometheus does not answer${when}`, `${system.prometheus_error}. ${what}`]);
  }
  if (system && system.config_problem) found.push(["The newest configuration is refused; the one before stays in force", system.config_problem]);
  for (const problem of system ? system.problems.slice(0, PROBLEMS) : []) found.push(["Something fails", problem]);
  const more = system ? system.problems.length - PROBLEMS : 0;
  if (more > 0) found.push(["And more fails", `${plural(more, "problem")}; the log has them.`]);
  const text = JSON.stringify(found);
  if ($("banners").dataset.shown === text) return;
  $("banners").dataset.shown = text;
  $("banners").replaceChildren(...found.map(([what, more]) => make("div", { class: "banner" }, make("strong", {}, what), ` ${more}`)));
}

function showAlerts(alerts) {
  const items = alerts.map((alert) => make("li", { class: alert.severity }, make("strong", {}, alert.name), ` ${alert.severity}${alert.about ? ` · ${alert.about}` : ""}`));
  const silent = shown.system && shown.system.prometheus_error;
  $("alerts").replaceChildren(...(items.length ? items : [make("li", { class: "muted" }, silent ? "Unknown while Prometheus is silent." : "None.")]));
}

function showOrders(orders) {
  const items = orders.map((order) => {
    const what = order.order === "override" ? `override to ${order.replicas}` : order.order;
    const end = order.until ? ` until ${clock(order.until)}` : "";
    return make("li", {}, `${clock(order.at)} `, make("strong", {}, what), `${end}: ${order.reason} (${order.by})`);
  });
  $("orders").replaceChildren(...(items.length ? items : [make("li", { class: "muted" }, "Nothing.")]));
}

function grafana() {
  const base = shown.system.grafana_url;
  $("grafana").hidden = !base;
  if (base) $("grafana").href = `${base}/d/autoscaling?var-target=${encodeURIComponent(shown.target)}`;
}

// The stream

const stream = new Stream({
  up() { shown.lost = null; $("live").className = "live on"; say($("live-text"), "Live"); banners(); },
  down() { shown.lost ??= now(); reconnecting(); },
  refused() { $("live").className = "live off"; say($("live-text"), "Sign in to see"); if (!$("login").open) $("login").showModal(); },
  gone() { begin(); },
  section(name, data) { sections[name]?.(data); },
  drawn() { performance.mark("update"); },
});

function reconnecting() {
  $("live").className = "live off";
  say($("live-text"), "Reconnecting…");
  banners();
}

function open() {
  stream.open(`/api/targets/${encodeURIComponent(shown.target)}/events?range=${shown.range}`);
}

// What another target's page said is not this one's.
function blank(name) {
  shown.status = null;
  $("verdict").className = "verdict";
  for (const [id, text] of [["name", name], ["queue", ""], ["verdict-text", "Loading…"], ["verdict-since", ""], ["sentence", ""]]) say($(id), text);
  for (const id of ["n-waiting", "n-flight", "n-workers", "n-target", "n-bounds", "n-parked"]) say($(id), "–");
  forgetDecisions();
  showFleet([]);
  chart.clear();
}

function choose(name) {
  if (name !== shown.target) blank(name);
  shown.target = name;
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  markTarget(name);
  open();
}

// Tries until there is a target to show: a scaler that starts may refuse, or know none yet.
let again = 0;

async function begin() {
  clearTimeout(again);
  try {
    const listed = answered("/api/summary");
    listed.catch(() => null);
    const session = await answered("/api/session");
    if (session === null) { stream.on.refused(); return; }
    if (await arrive(session, await listed)) return;
    shown.lost = null;
    say($("verdict-text"), "No target yet");
    reconnecting();
  } catch {
    stream.on.down();
  }
  again = setTimeout(begin, 2000);
}

// The content of an answer, null when credentials are needed.
async function answered(path) {
  const answer = await get(path);
  if (answer.status === 401) return null;
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}

async function arrive(session, targets) {
  Object.assign(shown, session);
  $("sign-in").textContent = signedIn() ? "Sign out" : "Sign in";
  $("sign-in").hidden = !signedIn() && !shown.acting;
  for (const id of ["do-pause", "do-override", "do-resume"]) {
    $(id).disabled = !shown.acting;
    $(id).title = shown.acting ? "" : "Set HTTP_ACT_TOKEN on the scaler to allow actions";
  }
  keepTargets(targets.map((target) => target.name));
  showTargets(targets);
  const found = targets.find((target) => `#${encodeURIComponent(target.name)}` === location.hash) || targets[0];
  if (found) choose(found.name);
  return Boolean(found);
}

// Orders

const orders = {
  pause: { title: "Pause scaling", says: "The fleet stays as it is: nothing is started or asked to leave.", go: "Pause", end: true },
  override: { title: "Override the number", says: "So many workers until the end, whatever the demand. Busy ones are never stopped.", go: "Override", end: true, replicas: true },
  resume: { title: "Resume scaling", says: "The policy decides again from the next cycle on.", go: "Resume" },
};
let order = "";

function ask(kind) {
  const { title, says, go, end = false, replicas = false } = orders[kind];
  order = kind;
  say($("order-title"), title); say($("order-says"), says); say($("order-go"), go); say($("order-error"), "");
  $("order-replicas-row").hidden = !replicas;
  $("order-replicas").required = replicas;
  if (replicas && shown.status) { $("order-replicas").max = shown.status.max_workers; $("order-replicas").value = shown.status.target_workers ?? ""; }
  $("order-for-row").hidden = !end;
  $("order-for").lastElementChild.hidden = kind === "override";
  if (kind === "override" && !$("order-for").value) $("order-for").value = "3600";
  $("order-token-row").hidden = shown.role === "act";
  $("order-token").required = shown.role !== "act";
  $("order").showModal();
}

async function submitOrder(event) {
  event.preventDefault();
  const body = { reason: $("order-reason").value.trim() };
  if (orders[order].end && $("order-for").value) body.for_seconds = Number($("order-for").value);
  if (orders[order].replicas) body.replicas = Number($("order-replicas").value);
  $("order-go").disabled = true;
  try {
    await act(`/api/targets/${encodeURIComponent(shown.target)}/${order}`, body, $("order-token").value);
    $("order-form").reset();
    $("order").close();
  } catch (error) {
    say($("order-error"), error.message);
  } finally {
    $("order-go").disabled = false;
  }
}

for (const kind of Object.keys(orders)) $(`do-${kind}`).addEventListener("click", () => ask(kind));
$("order-form").addEventListener("submit", submitOrder);
$("order-cancel").addEventListener("click", () => $("order").close());
$("login-cancel").addEventListener("click", () => $("login").close());
$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await get("/api/session", $("login-token").value);
  if (!answer.ok) { say($("login-error"), (await answer.json()).detail); return; }
  signIn($("login-token").value);
  $("login-form").reset();
  $("login").close();
  begin();
});
$("sign-in").addEventListener("click", () => {
  if (signedIn()) { signIn(""); location.reload(); } else $("login").showModal();
});
$("ranges").addEventListener("change", (event) => { shown.range = event.target.value; open(); });
window.addEventListener("hashchange", begin);
onChoice(choose);

// Dark and light: as the system says until it is chosen here.

const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = () => document.documentElement.classList.toggle("dark", (localStorage.getItem("theme") || (dark.matches ? "dark" : "light")) === "dark");
$("theme").addEventListener("click", () => {
  localStorage.setItem("theme", document.documentElement.classList.contains("dark") ? "light" : "dark");
  theme();
});
dark.addEventListener("change", theme);
theme();

setInterval(() => { since(); ageFleet(); }, 1000);
begin();
