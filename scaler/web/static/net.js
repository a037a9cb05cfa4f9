// Talking to the server: credentials of this tab, actions with a nonce, the stream of events.
import { setClock } from "./dom.js";

const KEY = "autoscaler-credentials";

function header(secret) {
  return secret.includes(":") ? `Basic ${btoa(unescape(encodeURIComponent(secret)))}` : `Bearer ${secret}`;
}

let secret = sessionStorage.getItem(KEY) || "";
export const signedIn = () => secret !== "";
export function signIn(given) {
  secret = given;
  if (given) sessionStorage.setItem(KEY, given);
  else sessionStorage.removeItem(KEY);
}

export async function get(path, own = secret) {
  return fetch(path, { headers: own ? { Authorization: header(own) } : {}, cache: "no-store", signal: AbortSignal.timeout(20_000) });
}

export async function act(path, body, token) {
  const own = token || secret;
  const answer = await get("/api/nonce", own);
  if (!answer.ok) throw new Error((await answer.json()).detail);
  const { nonce } = await answer.json();
  const done = await fetch(path, {
    method: "POST",
    headers: { "Authorization": header(own), "Content-Type": "application/json", "X-Action-Nonce": nonce },
    body: JSON.stringify(body),
  });
  if (!done.ok) throw new Error((await done.json()).detail);
}

// Server-sent events over fetch, which unlike EventSource can carry credentials in a header.
export class Stream {
  constructor(on) {
    this.on = on;
    this.abort = null;
    this.turn = 0;
  }

  async open(path) {
    const turn = ++this.turn;
    this.abort?.abort();
    let wait = 500;
    while (turn === this.turn) {
      this.abort = new AbortController();
      try {
        const answer = await fetch(path, {
          headers: secret ? { Authorization: header(secret) } : {}, cache: "no-store", signal: this.abort.signal,
        });
        if (answer.status === 401) return this.on.refused();
        if (answer.status === 404) return this.on.gone();
        if (!answer.ok) throw new Error(String(answer.status));
        wait = 500;
        this.on.up();
        await this.read(answer.body.getReader());
      } catch (error) {
        if (turn !== this.turn) return;
      }
      if (turn !== this.turn) return;
      this.on.down();
      await new Promise((resolve) => setTimeout(resolve, wait));
      wait = Math.min(wait * 2, 8000);
    }
  }

  async read(reader) {
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += decoder.decode(value, { stream: true });
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const block of blocks) this.event(block);
      this.on.drawn();
    }
  }

  event(block) {
    const fields = {};
    for (const line of block.split("\n")) {
      const colon = line.indexOf(": ");
      if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
    }
    if (fields.id) setClock(Number(fields.id));
    if (!fields.data) return;
    try {
      this.on.section(fields.event, JSON.parse(fields.data));
    } catch (error) {
      // One part that can't be drawn must not keep the others from being shown.
      console.error(fields.event, error);
    }
  }
}
