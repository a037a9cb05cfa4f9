// Small helpers: elements, times, numbers.

export const $ = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// The server's clock, which all times are told by; ours may be off.
let ahead = 0;
export const setClock = (serverSeconds) => { ahead = serverSeconds - Date.now() / 1000; };
export const now = () => Date.now() / 1000 + ahead;

const withSeconds = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const withDay = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hour12: false });

export function clock(seconds) {
  const format = Math.abs(now() - seconds) < 43200 ? withSeconds : withDay;
  return format.format(new Date((seconds - ahead) * 1000));
}

export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${(s / 3600).toFixed(1).replace(/\.0$/, "")} h`;
  return `${Math.round(s / 86400)} d`;
}

export const number = (value) => (value === null || value === undefined ? "?" : String(Math.round(value * 100) / 100));
export const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
