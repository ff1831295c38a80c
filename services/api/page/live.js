/** The stream of changes, read with fetch() because EventSource cannot send a key. */

import { authorization, url } from "./api.js";
import { pause } from "./pace.js";
import { parser } from "./sse.js";

/** @typedef {"connecting" | "live" | "reconnecting" | "offline"} LiveState */

const SILENCE_MS = 60_000;
const LONGEST_WAIT_MS = 15_000;

export class Live extends EventTarget {
  /** @type {LiveState} */
  state = "connecting";
  /** @type {string | null} */
  #lastId = null;
  /** @type {AbortController | null} */
  #running = null;
  #node = "";
  #failures = 0;
  #wait = 1000;

  constructor() {
    super();
    addEventListener("online", () => this.#running && this.start(this.#node, true));
    addEventListener("offline", () => this.#running && this.#set("offline"));
  }

  /**
   * Follows the fleet, or with a node that node's readings besides.
   * @param {string} [node]
   * @param {boolean} [anew] also when this is what it does already
   */
  start(node = "", anew = false) {
    if (this.#running && this.#node === node && !anew) return;
    this.stop();
    this.#node = node;
    this.#running = new AbortController();
    void this.#run(this.#running.signal);
  }

  /** Tries again at once, rather than when the pause between tries is over. */
  hurry() {
    if (this.#running && this.state !== "live") this.start(this.#node, true);
  }

  stop() {
    this.#running?.abort();
    this.#running = null;
  }

  /** @param {LiveState} state */
  #set(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  /** @param {AbortSignal} signal */
  async #run(signal) {
    while (!signal.aborted) {
      let status = 0;
      try {
        status = await this.#read(signal);
      } catch {
        // Broken off, or never there: the next try tells.
      }
      if (signal.aborted) return;
      if (status === 401 || status === 403) {
        this.#set("offline");
        return; // until there is another key
      }
      this.#failures += 1;
      this.#set(this.#failures > 1 || !navigator.onLine ? "offline" : "reconnecting");
      const longest = Math.min(LONGEST_WAIT_MS, this.#wait * 2 ** (this.#failures - 1));
      await pause(longest * (0.5 + Math.random() / 2), signal);
    }
  }

  /**
   * Reads one connection to its end.
   * @param {AbortSignal} signal
   * @returns {Promise<number>} the HTTP status
   */
  async #read(signal) {
    const connection = new AbortController();
    const giveUp = () => connection.abort();
    signal.addEventListener("abort", giveUp, { once: true });
    let silence = setTimeout(giveUp, SILENCE_MS);
    try {
      /** @type {Record<string, string>} */
      const headers = { Accept: "text/event-stream", ...authorization() };
      if (this.#lastId !== null) headers["Last-Event-ID"] = this.#lastId;
      const response = await fetch(url("/events", { node: this.#node }), {
        headers,
        signal: connection.signal,
        cache: "no-store",
      });
      if (!response.ok || !response.body) return response.status;
      const again = this.#failures > 0;
      this.#failures = 0;
      this.#set("live");
      if (again) this.dispatchEvent(new Event("again"));
      const feed = parser({
        event: (event) => this.#emit(event),
        place: (id) => (this.#lastId = id),
        retry: (ms) => (this.#wait = Math.min(ms, LONGEST_WAIT_MS)),
      });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return response.status;
        clearTimeout(silence);
        silence = setTimeout(giveUp, SILENCE_MS);
        feed(value);
      }
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", giveUp);
    }
  }

  /** @param {import("./sse.js").ServerEvent} event */
  #emit(event) {
    let data;
    try {
      data = JSON.parse(event.data);
    } catch {
      return; // not for this version of the page
    }
    this.dispatchEvent(new CustomEvent("change", { detail: { type: event.type, data } }));
  }
}
