/** The nodes that pass the filters, page by page. */

import { get } from "./api.js";

/** @typedef {import("./types.js").FleetNode} FleetNode */
/** @typedef {import("./types.js").NodePage} NodePage */
/** @typedef {{cursor: string | null, limit: number, ids: string[]}} Page */

const FIRST_PAGE = 50;
const PAGE = 200;

export class NodeList {
  /** @type {FleetNode[]} */
  items = [];
  /** @type {number | null} */
  total = null;
  /** Whether the newest answers had another order or other nodes than what is shown. */
  moved = false;
  /** @type {string | null} */
  #next = null;
  /** @type {Page[]} */
  #pages = [];
  /** @type {Map<string, number>} */
  #place = new Map();
  /** @type {Record<string, string | string[]>} */
  #params = {};
  /** @type {AbortController | null} */
  #loading = null;
  #more = false;
  #refreshing = false;

  /** Whether there are nodes that are not loaded. */
  get hasMore() {
    return this.#next !== null;
  }

  /**
   * Reads the first page.
   * @param {Record<string, string | string[]>} params
   */
  async load(params) {
    this.#loading?.abort();
    const loading = (this.#loading = new AbortController());
    this.#more = false;
    const page = await this.#ask(params, null, FIRST_PAGE, loading.signal);
    this.#params = params;
    this.items = [];
    this.#pages = [];
    this.#place.clear();
    this.moved = false;
    this.#append(page, null, FIRST_PAGE);
  }

  /** Reads the next page; false where there is none, or it is on its way already. */
  async more() {
    const loading = this.#loading;
    if (this.#next === null || this.#more || !loading) return false;
    this.#more = true;
    const cursor = this.#next;
    try {
      const page = await this.#ask(this.#params, cursor, PAGE, loading.signal);
      this.#append(page, cursor, PAGE);
    } finally {
      if (loading === this.#loading) this.#more = false;
    }
    return true;
  }

  /**
   * Reads again the pages of these rows and puts the nodes where they are, so that nothing jumps. While only the first
   * page is loaded, it also takes on their new order if `order` says so.
   * @param {number} first
   * @param {number} last
   * @param {boolean} order
   */
  async refresh(first, last, order) {
    const loading = this.#loading;
    if (this.#refreshing || !loading || this.total === null) return;
    this.#refreshing = true;
    try {
      let begin = 0;
      for (const [at, page] of [...this.#pages].entries()) {
        const end = begin + page.ids.length;
        if ((begin < last && end > first) || (at === 0 && end === 0)) {
          const answer = await this.#ask(this.#params, page.cursor, page.limit, loading.signal);
          this.total = answer.total;
          const same =
            answer.items.length === page.ids.length && answer.items.every((node, i) => node.identifier === page.ids[i]);
          if (!same && order && this.#pages.length === 1) {
            this.items = [];
            this.#pages = [];
            this.#place.clear();
            this.#append(answer, null, page.limit);
            return;
          }
          if (!same) this.moved = true;
          for (const node of answer.items) this.patch(node);
        }
        begin = end;
      }
    } finally {
      this.#refreshing = false;
    }
  }

  /** @param {FleetNode} node */
  patch(node) {
    const at = this.#place.get(node.identifier);
    if (at !== undefined) this.items[at] = node;
  }

  /** @param {string} identifier */
  find(identifier) {
    const at = this.#place.get(identifier);
    return at === undefined ? undefined : this.items[at];
  }

  /**
   * @param {Record<string, string | string[]>} params
   * @param {string | null} cursor
   * @param {number} limit
   * @param {AbortSignal} signal
   * @returns {Promise<NodePage>}
   */
  #ask(params, cursor, limit, signal) {
    return get("/nodes", { ...params, limit, cursor }, signal);
  }

  /** @param {NodePage} page @param {string | null} cursor @param {number} limit */
  #append(page, cursor, limit) {
    const ids = [];
    for (const node of page.items) {
      if (this.#place.has(node.identifier)) {
        this.patch(node); // it moved from one page to the next meanwhile
        continue;
      }
      this.#place.set(node.identifier, this.items.length);
      this.items.push(node);
      ids.push(node.identifier);
    }
    this.#pages.push({ cursor, limit, ids });
    this.#next = page.next_cursor;
    this.total = page.total;
  }
}
