// One chart: demand as areas, the fleet as lines, bounds, scale events. Plain SVG.
import { clock, make, number, plural, say } from "./dom.js";

const NS = "http://www.w3.org/2000/svg";
const LEFT = 34, RIGHT = 10, TOP = 10, BOTTOM = 26;

function svg(tag, attributes, ...children) {
  const element = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function niceStep(most) {
  for (const step of [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]) {
    if (most / step <= 5) return step;
  }
  return Math.ceil(most / 5);
}

export class Chart {
  constructor(box, reading) {
    this.box = box;
    this.reading = reading;
    this.data = null;
    this.marks = [];
    this.at = null;
    new ResizeObserver(() => this.draw()).observe(box);
  }

  // What begins in the middle of the range is shown from there on, not as mostly nothing.
  show(data) {
    const known = Object.values(data.series).map((values) => values.findIndex((value) => value !== null)).filter((i) => i >= 0);
    const length = Math.max(0, ...Object.values(data.series).map((values) => values.length));
    const skip = Math.max(0, Math.min(Math.min(...known) - 2, Math.floor(length * 0.9)));
    if (known.length && skip > 0) {
      const series = Object.fromEntries(Object.entries(data.series).map(([name, values]) => [name, values.slice(skip)]));
      data = { ...data, series, start: data.start + skip * data.step };
    }
    this.data = data;
    this.draw();
  }

  mark(events) {
    this.marks = events;
    this.draw();
  }

  clear() {
    this.data = null;
    this.marks = [];
    this.box.replaceChildren();
  }

  draw() {
    const width = this.box.clientWidth;
    if (!this.data || width < 50) return;
    const height = width < 600 ? 210 : 260;
    const scale = this.scale(width, height);
    const root = svg("svg", {
      viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: "0", "aria-label": this.summary(),
    });
    const nothing = Object.keys(this.data.series).length === 0;
    if (nothing) root.append(svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "No data for this range"));
    else root.append(...this.grid(scale), ...this.gaps(scale), ...this.areas(scale), ...this.lines(scale), ...this.events(scale));
    this.cross = svg("line", { class: "cross", y1: TOP, y2: height - BOTTOM, visibility: "hidden" });
    root.append(this.cross);
    root.addEventListener("pointermove", (event) => this.point(scale, event.offsetX * (width / root.clientWidth)));
    root.addEventListener("pointerleave", () => this.leave());
    root.addEventListener("blur", () => this.leave());
    root.addEventListener("keydown", (event) => this.key(scale, event));
    const focused = this.box.contains(document.activeElement);
    this.box.replaceChildren(root);
    if (focused) root.focus();
    if (this.at !== null) this.read(scale, this.at);
  }

  scale(width, height) {
    const { start, step, series } = this.data;
    const count = Math.max(2, ...Object.values(series).map((values) => values.length));
    let most = 4;
    for (let i = 0; i < count; i++) {
      most = Math.max(most, (series.demand || [])[i] || 0, (series.in_flight || [])[i] || 0, (series.workers || [])[i] || 0, (series.target || [])[i] || 0);
    }
    const high = Math.max(0, ...(series.max || []).map((value) => value || 0));
    if (high <= most * 1.7) most = Math.max(most, high);
    const tick = niceStep(most);
    const top = Math.ceil(most * 1.05 / tick) * tick;
    return {
      width, height, count, tick, top, start, step, end: start + step * (count - 1),
      x: (i) => LEFT + (width - LEFT - RIGHT) * i / (count - 1),
      y: (value) => TOP + (height - TOP - BOTTOM) * (1 - value / top),
      atTime: (t) => LEFT + (width - LEFT - RIGHT) * (t - start) / (step * (count - 1)),
    };
  }

  grid(s) {
    const parts = [];
    for (let value = 0; value <= s.top; value += s.tick) {
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: s.width - RIGHT, y1: s.y(value), y2: s.y(value) }));
      parts.push(svg("text", { x: LEFT - 7, y: s.y(value) + 4, "text-anchor": "end" }, String(value)));
    }
    const labels = s.width < 600 ? 3 : 6;
    for (let i = 0; i <= labels; i++) {
      const anchor = i === 0 ? "start" : i === labels ? "end" : "middle";
      const at = s.start + (s.end - s.start) * i / labels;
      parts.push(svg("text", { x: s.atTime(at), y: s.height - 8, "text-anchor": anchor }, clock(at).slice(0, s.end - s.start > 1000 ? -3 : undefined)));
    }
    return parts;
  }

  // Where nothing is known between things that are: said, not drawn as 0.
  gaps(s) {
    const values = this.data.series.waiting || [];
    const parts = [];
    let last = null;
    for (let i = 0; i <= values.length; i++) {
      const known = i < values.length && values[i] !== null && values[i] !== undefined;
      if (known) {
        if (last !== null && i - last > 1) parts.push(this.gap(s, last, i));
        last = i;
      }
    }
    if (last !== null && last < values.length - 3) parts.push(this.gap(s, last, values.length - 1));
    return parts;
  }

  gap(s, from, to) {
    return svg("rect", { class: "gap", x: s.x(from), width: s.x(to) - s.x(from), y: TOP, height: s.height - TOP - BOTTOM }, svg("title", {}, "no data"));
  }

  // Each run of known values is a piece of its own.
  runs(values, count) {
    const found = [];
    let run = null;
    for (let i = 0; i < count; i++) {
      const value = values[i];
      if (value === null || value === undefined) run = null;
      else if (run) run.push(i);
      else found.push(run = [i]);
    }
    return found;
  }

  areas(s) {
    const { in_flight: flight = [], demand = [] } = this.data.series;
    const top = demand.map((value, i) => (value === null ? null : Math.max(value, flight[i] || 0)));
    const area = (name, values, floor) => this.runs(values, s.count).map((run) => {
      const over = run.map((i) => `${s.x(i).toFixed(1)},${s.y(values[i]).toFixed(1)}`);
      const under = [...run].reverse().map((i) => `${s.x(i).toFixed(1)},${s.y(floor(i)).toFixed(1)}`);
      return svg("polygon", { class: name, points: [...over, ...under].join(" ") });
    });
    return [...area("a-waiting", top, (i) => flight[i] || 0), ...area("a-flight", flight, () => 0)];
  }

  lines(s) {
    const line = (name, values = []) => this.runs(values, s.count).map((run) => {
      let path = "";
      run.forEach((i, k) => {
        const x = s.x(i).toFixed(1), y = s.y(values[i]).toFixed(1);
        path += k === 0 ? `M${x},${y}` : `H${x}V${y}`;
      });
      return svg("path", { class: name, d: path });
    });
    const { min, max, workers, target, usual, expected } = this.data.series;
    const inside = (values = []) => values.map((value) => (value !== null && value <= s.top ? value : null));
    return [...line("l-bound", inside(min)), ...line("l-bound", inside(max)), ...line("l-usual", usual), ...line("l-expected", expected), ...line("l-workers", workers), ...line("l-target", target)];
  }

  events(s) {
    const base = s.height - BOTTOM;
    return this.marks.filter((event) => event.at >= s.start && event.at <= s.end + s.step).map((event) => {
      const x = Math.min(s.atTime(event.at), s.width - RIGHT), up = event.after > event.before;
      const points = up ? `${x - 5},${base} ${x + 5},${base} ${x},${base - 9}` : `${x - 5},${base - 9} ${x + 5},${base - 9} ${x},${base}`;
      return svg("polygon", { class: up ? "up" : "down", points }, svg("title", {}, `${clock(event.at)} ${number(event.before)} → ${number(event.after)}: ${event.reason}`));
    });
  }

  summary() {
    const series = this.data.series;
    const peak = (name) => Math.max(0, ...(series[name] || []).map((value) => value || 0));
    if (!series.waiting) return "No data for this range.";
    return `Demand and fleet. At most ${peak("waiting")} waiting, ${peak("in_flight")} in progress and ${plural(peak("workers"), "worker")}; ${plural(this.marks.length, "scale event")}. Left and right arrows read values.`;
  }

  point(s, x) {
    this.at = Math.max(0, Math.min(s.count - 1, Math.round((x - LEFT) / (s.width - LEFT - RIGHT) * (s.count - 1))));
    this.read(s, this.at);
  }

  key(s, event) {
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -s.count, End: s.count };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.at = Math.max(0, Math.min(s.count - 1, (this.at ?? s.count - 1) + moves[event.key]));
    this.read(s, this.at);
  }

  read(s, i) {
    const value = (name) => { const v = (this.data.series[name] || [])[i]; return v === null || v === undefined ? "?" : number(v); };
    this.cross.setAttribute("x1", s.x(i));
    this.cross.setAttribute("x2", s.x(i));
    this.cross.setAttribute("visibility", "visible");
    const expected = this.data.series.expected ? `, ${value("expected")} expected where ${value("usual")} are usual` : "";
    say(this.reading, `${clock(s.start + s.step * i)}: ${value("waiting")} waiting, ${value("in_flight")} in progress${expected}, ${value("workers")} workers, ${value("target")} wanted`);
  }

  leave() {
    this.at = null;
    this.cross.setAttribute("visibility", "hidden");
    say(this.reading, "");
  }
}
