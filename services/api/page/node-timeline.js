/** A node's health in five-minute slots, day under day. */

import { get, isAbort, nodePath } from "./api.js";
import { now } from "./clock.js";
import { colour } from "./colours.js";
import { el, put, setText } from "./dom.js";
import { duration, integer, percent, plural, shortDay, weekday } from "./format.js";
import { failure, legendOf, segments, share } from "./parts.js";
import { onTheme } from "./theme.js";
import { steppable, Tooltip } from "./tooltip.js";
import { dateIn } from "./zones.js";

/** @typedef {import("./types.js").TimelineDay} TimelineDay */

const SLOTS = 288;
/** State by letter: its name, its colour, and how much of the row's height it fills, so that it is told without colour. */
const STATES = /** @type {Record<string, [name: string, token: string, height: number]>} */ ({
  h: ["healthy", "--slot-good", 1],
  u: ["seen but not healthy", "--slot-warn", 0.62],
  a: ["absent", "--slot-bad", 0.34],
  "-": ["not known", "--slot-unknown", 0.1],
});

export class NodeTimeline {
  /** @type {TimelineDay[]} */
  #days = [];
  #at = -1;
  #slotSeconds = 300;
  #length = 7;

  /** @param {string} identifier @param {AbortSignal} signal */
  constructor(identifier, signal) {
    this.identifier = identifier;
    this.signal = signal;
    this.uptime = el("dl", { class: "uptimes", "data-testid": "uptime" });
    put(
      this.uptime,
      ...["24 h", "7 d", "30 d"].map((span) => el("div", null, el("dt", null, `Uptime ${span}`), el("dd", null, " "))),
    );
    this.labels = el("div", { class: "timeline-labels", "aria-hidden": "true" });
    this.canvas = el("canvas");
    this.grid = el("div", { class: "timeline-grid", "data-testid": "timeline-grid" }, this.canvas);
    this.hours = el(
      "div",
      { class: "timeline-hours", "aria-hidden": "true" },
      ...["00:00", "06:00", "12:00", "18:00", "24:00"].map((hour) => el("span", null, hour)),
    );
    this.tooltip = new Tooltip(this.grid);
    this.summary = el("p", { class: "muted small", "data-testid": "timeline-summary" }, " ");
    this.problem = el("div");
    const legend = legendOf(
      Object.entries(STATES).map(([letter, [name]]) => [letter === "-" ? "unknown" : letter, name]),
    );
    this.root = el(
      "section",
      { class: "panel", "aria-labelledby": "timeline-title", "data-testid": "timeline" },
      el(
        "div",
        { class: "panel-head" },
        el("h2", { id: "timeline-title" }, "Health"),
        segments(
          "Days of health",
          [
            ["7", "7 d"],
            ["30", "30 d"],
          ],
          "7",
          (value) => this.#choose(Number(value)),
        ),
      ),
      this.uptime,
      el("div", { class: "timeline" }, this.labels, this.grid, this.hours),
      el("div", { class: "row" }, this.summary, legend),
      this.problem,
    );
    this.tell = steppable(this.grid, {
      label: "Health by five minutes, UTC: arrow keys move by slot and by day, page keys by hour",
      count: () => this.#days.length * SLOTS,
      at: () => (this.#at < 0 ? this.#newest() : this.#at),
      step: (index) => this.#point(index),
      text: (index) => this.#describe(index).join(", "),
      keys: { ArrowUp: -SLOTS, ArrowDown: SLOTS, PageUp: -12, PageDown: 12 },
      leave: () => this.tooltip.hide(),
    });
    this.grid.addEventListener("pointermove", (event) => this.#hover(event));
    this.grid.addEventListener("pointerdown", (event) => this.#hover(event));
    this.grid.addEventListener("pointerleave", () => (this.tooltip.hide(), this.#mark(-1)));
    const sizes = new ResizeObserver(() => this.#draw());
    sizes.observe(this.grid);
    signal.addEventListener("abort", () => sizes.disconnect());
    onTheme(() => this.#draw(), signal);
    this.#size();
  }

  /** @param {import("./types.js").Uptime[]} uptime */
  showUptime(uptime) {
    const spans = /** @type {const} */ (["24h", "7d", "30d"]);
    put(
      this.uptime,
      ...spans.map((span) => {
        const one = uptime.find((each) => each.span === span);
        const slots =
          one && one.percent !== null
            ? el("span", { class: "under" }, `${integer(one.healthy_slots)} of ${plural(one.reachable_slots, "slot")}`)
            : null;
        return el(
          "div",
          null,
          el("dt", null, `Uptime ${span.replace(/(\d+)/, "$1 ")}`),
          el("dd", null, share(one?.percent ?? null, 2), slots),
        );
      }),
    );
  }

  /** @param {number} length */
  #choose(length) {
    this.#length = length;
    this.#size();
    void this.read();
  }

  #size() {
    this.root.dataset.days = String(this.#length);
    if (!this.#days.length) put(this.labels, ...Array.from({ length: this.#length }, () => el("span", null, " ")));
  }

  async read() {
    const length = this.#length;
    try {
      const answer = await get(
        `${nodePath(this.identifier)}/timeline`,
        { since: dateIn("UTC", 1 - length), until: dateIn("UTC") },
        this.signal,
      );
      if (length !== this.#length) return;
      this.#days = answer.days;
      this.#slotSeconds = answer.slot_seconds;
      put(this.problem);
      put(this.labels, ...this.#days.map((day) => el("span", null, shortDay(day.date))));
      setText(this.summary, this.#sum());
      this.tell();
      this.#draw();
    } catch (error) {
      if (!isAbort(error) && !this.#days.length)
        put(
          this.problem,
          failure(error, () => void this.read()),
        );
    }
  }

  #sum() {
    const counts = { h: 0, u: 0, a: 0 };
    for (const day of this.#days)
      for (const letter of day.slots) if (letter in counts) counts[/** @type {"h"} */ (letter)] += 1;
    const all = counts.h + counts.u + counts.a;
    if (!all) return "Nothing is known of these days.";
    const long = (/** @type {number} */ slots) => duration(slots * this.#slotSeconds);
    return `${plural(this.#days.length, "UTC day")}: healthy in ${percent((100 * counts.h) / all)} of the ${long(all)} known, not healthy for ${long(counts.u)}, absent for ${long(counts.a)}.`;
  }

  /** The slot of the moment. */
  #newest() {
    const seconds = (now() / 1000) % 86400;
    return Math.max(0, (this.#days.length - 1) * SLOTS + Math.floor(seconds / this.#slotSeconds));
  }

  /** @param {number} index */
  #describe(index) {
    const day = this.#days[Math.floor(index / SLOTS)];
    const minutes = ((index % SLOTS) * this.#slotSeconds) / 60;
    const clock = (/** @type {number} */ at) =>
      `${String(Math.floor(at / 60)).padStart(2, "0")}:${String(at % 60).padStart(2, "0")}`;
    const begins = Date.parse(`${day.date}T00:00:00Z`) + minutes * 60_000;
    return [
      STATES[day.slots[index % SLOTS]][0] + (begins > now() ? " yet" : ""),
      `${weekday(day.date)}, ${clock(minutes)}–${clock(minutes + this.#slotSeconds / 60)} UTC`,
    ];
  }

  /** @param {PointerEvent} event */
  #hover(event) {
    if (!this.#days.length) return;
    const box = this.canvas.getBoundingClientRect();
    const slot = Math.floor(((event.clientX - box.left) / box.width) * SLOTS);
    const day = Math.floor(((event.clientY - box.top) / box.height) * this.#days.length);
    if (slot < 0 || slot >= SLOTS || day < 0 || day >= this.#days.length) return;
    this.#point(day * SLOTS + slot);
  }

  /** @param {number} index */
  #point(index) {
    this.#mark(index);
    const { clientWidth, clientHeight } = this.canvas;
    this.tooltip.show(
      (((index % SLOTS) + 0.5) / SLOTS) * clientWidth,
      (Math.floor(index / SLOTS) / this.#days.length) * clientHeight,
      this.#describe(index),
    );
  }

  /** @param {number} index */
  #mark(index) {
    this.#at = index;
    this.#draw();
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.grid;
    const context = this.canvas.getContext("2d");
    if (!context || !width || !height || !this.#days.length) return;
    this.canvas.width = Math.round(width * devicePixelRatio);
    this.canvas.height = Math.round(height * devicePixelRatio);
    const row = this.canvas.height / this.#days.length;
    const gap = Math.max(1, Math.round(row * 0.14));
    const colours = Object.fromEntries(Object.entries(STATES).map(([letter, [, token]]) => [letter, colour(token)]));
    const edge = (/** @type {number} */ slot) => Math.round((slot * this.canvas.width) / SLOTS);
    this.#days.forEach((day, at) => {
      const bottom = Math.round((at + 1) * row) - gap;
      const full = bottom - Math.round(at * row);
      for (let slot = 0; slot < SLOTS;) {
        const letter = day.slots[slot];
        let end = slot + 1;
        while (end < SLOTS && day.slots[end] === letter) end += 1;
        const tall = Math.max(1, Math.round(full * STATES[letter][2]));
        context.fillStyle = colours[letter];
        context.fillRect(edge(slot), bottom - tall, edge(end) - edge(slot), tall);
        slot = end;
      }
    });
    if (this.#at < 0) return;
    const [day, slot] = [Math.floor(this.#at / SLOTS), this.#at % SLOTS];
    context.strokeStyle = colour("--text");
    context.lineWidth = Math.max(1, devicePixelRatio);
    context.strokeRect(
      edge(slot) - 1,
      Math.round(day * row) + 0.5,
      edge(slot + 1) - edge(slot) + 2,
      Math.round(row) - gap,
    );
  }
}
