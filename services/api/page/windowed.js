/** Rows of one height, of which only those near the visible part of the page are in the document. */

import { el } from "./dom.js";

const OVERSCAN = 10;

/**
 * @template {{identifier: string}} T
 */
export class WindowedRows {
  /** @type {T[]} */
  #items = [];
  /** @type {Map<string, HTMLTableRowElement>} */
  #rows = new Map();
  #first = 0;
  #last = 0;
  #asked = 0;
  #above = el("tr", { "aria-hidden": "true", class: "spacer" }, el("td"));
  #below = el("tr", { "aria-hidden": "true", class: "spacer" }, el("td"));

  /**
   * @param {HTMLTableSectionElement} body
   * @param {{
   *   create: (item: T) => HTMLTableRowElement, update: (row: HTMLTableRowElement, item: T) => void,
   *   seen: (first: number, last: number) => void
   * }} hooks `seen` is told which rows are drawn, after each drawing
   */
  constructor(body, hooks) {
    this.body = body;
    this.hooks = hooks;
    body.append(this.#above, this.#below);
    const later = () => {
      if (!this.#asked) this.#asked = requestAnimationFrame(() => ((this.#asked = 0), this.draw()));
    };
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", later);
  }

  /** The indices of the rows that are drawn, the last excluded. */
  get range() {
    return [this.#first, this.#last];
  }

  /** @param {T[]} items */
  show(items) {
    this.#items = items;
    this.draw();
  }

  /** Draws the rows that the window reaches; leaves alone what is right already. */
  draw() {
    if (!this.body.isConnected) return;
    const height = this.#rowHeight();
    const top = this.body.getBoundingClientRect().top;
    const count = this.#items.length;
    this.#first = Math.min(Math.max(0, Math.floor(-top / height) - OVERSCAN), Math.max(0, count - 1));
    this.#last = Math.max(this.#first, Math.min(count, Math.ceil((innerHeight - top) / height) + OVERSCAN));
    const wanted = this.#items.slice(this.#first, this.#last);
    const ids = new Set(wanted.map((item) => item.identifier));
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    let after = /** @type {Element} */ (this.#above);
    wanted.forEach((item, at) => {
      let row = this.#rows.get(item.identifier);
      if (row) this.hooks.update(row, item);
      else this.#rows.set(item.identifier, (row = this.hooks.create(item)));
      row.setAttribute("aria-rowindex", String(this.#first + at + 2));
      row.classList.toggle("odd", (this.#first + at) % 2 === 1);
      if (after.nextElementSibling !== row) after.after(row);
      after = row;
    });
    this.#above.style.height = `${this.#first * height}px`;
    this.#below.style.height = `${(count - this.#last) * height}px`;
    this.hooks.seen(this.#first, this.#last);
  }

  #rowHeight() {
    const row = this.#rows.values().next().value;
    const height = row?.getBoundingClientRect().height;
    if (height) return height;
    const probe = el("div", { class: "row-probe" });
    document.body.append(probe);
    const measured = probe.offsetHeight;
    probe.remove();
    return measured || 48;
  }
}
