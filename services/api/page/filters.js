/** Filters and order of the table of nodes, as they stand in the address. */

import { COLUMNS } from "./columns.js";
import { el, icon } from "./dom.js";
import { integer } from "./format.js";
import { afterQuiet } from "./pace.js";
import { STATUSES, shape } from "./status.js";

export const DEFAULT_SORT = "-earnings_total";
const CHOICES = /** @type {const} */ (["status", "gpu_type", "region", "source"]);
const LABELS = { status: "Status", gpu_type: "GPU", region: "Region", source: "Source" };
const STATUS_VALUES = [...STATUSES, "unknown"];
const SORTS = new Set(COLUMNS.map((column) => column.sort));

/**
 * What the address asks for, in the API's words; what it does not know is left out.
 * @param {URLSearchParams} query
 * @returns {Record<string, string | string[]>}
 */
export function paramsOf(query) {
  /** @type {Record<string, string | string[]>} */
  const params = {};
  const sort = query.get("sort") ?? DEFAULT_SORT;
  params.sort = SORTS.has(sort.replace(/^-/, "")) ? sort : DEFAULT_SORT;
  const text = (query.get("q") ?? "").trim();
  if (text) params.q = text;
  for (const name of CHOICES) {
    const values = query.getAll(name).filter((value) => value && (name !== "status" || STATUS_VALUES.includes(value)));
    if (values.length) params[name] = values;
  }
  if (query.get("stale") === "true") params.stale = "true";
  return params;
}

/**
 * @param {Record<string, string | string[]>} params
 * @returns {URLSearchParams} without what is so by default
 */
export function queryOf(params) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (name === "sort" && value === DEFAULT_SORT) continue;
    for (const one of Array.isArray(value) ? value : [value]) query.append(name, one);
  }
  return query;
}

export class Filters {
  /** @type {Record<string, string | string[]>} */
  params = { sort: DEFAULT_SORT };
  /** @type {Record<string, {key: string, nodes: number | null}[]>} */
  #options = { status: STATUS_VALUES.map((key) => ({ key, nodes: null })), gpu_type: [], region: [], source: [] };
  /** @type {Record<string, HTMLDetailsElement>} */
  #menus = {};

  /** @param {(params: Record<string, string | string[]>, typed: boolean) => void} changed */
  constructor(changed) {
    this.changed = changed;
    this.text = el("input", {
      type: "search",
      placeholder: "Name, address or model",
      "aria-label": "Filter by name, address or model",
      maxlength: "100",
      autocomplete: "off",
      spellcheck: "false",
      "data-testid": "filter-text",
    });
    this.text.addEventListener(
      "input",
      afterQuiet(() => this.#set("q", this.text.value.trim()), 250),
    );
    for (const name of CHOICES) this.#menus[name] = this.#menu(name);
    this.stale = el("input", { type: "checkbox", "data-testid": "filter-stale" });
    this.stale.addEventListener("change", () => this.#set("stale", this.stale.checked ? "true" : ""));
    this.clear = el(
      "button",
      { type: "button", class: "button quiet", hidden: true, "data-testid": "filter-clear", click: () => this.reset() },
      "Clear",
    );
    this.order = el("select", { "aria-label": "Sort by", "data-testid": "sort-select" });
    for (const column of COLUMNS) {
      for (const minus of ["", "-"]) {
        this.order.append(el("option", { value: minus + column.sort }, `${column.label} ${minus ? "↓" : "↑"}`));
      }
    }
    this.order.addEventListener("change", () => this.#set("sort", this.order.value));
    this.root = el(
      "div",
      { class: "filters", role: "search", "aria-label": "Nodes", "data-testid": "filters" },
      el("span", { class: "field search" }, icon("search"), this.text),
      ...CHOICES.map((name) => this.#menus[name]),
      el("label", { class: "check button" }, this.stale, "Stale only"),
      el("label", { class: "order" }, el("span", { "aria-hidden": "true" }, "Sort"), this.order),
      this.clear,
    );
    document.addEventListener("click", (event) => this.#close(event.target));
    this.root.addEventListener("keydown", (event) => {
      const open = event.key === "Escape" && this.root.querySelector("details[open]");
      if (!(open instanceof HTMLDetailsElement)) return;
      open.open = false;
      /** @type {HTMLElement} */ (open.firstElementChild).focus();
    });
  }

  /** Shows what the address asks for. @param {Record<string, string | string[]>} params */
  show(params) {
    this.params = params;
    const text = String(params.q ?? "");
    if (document.activeElement !== this.text || this.text.value.trim() !== text) this.text.value = text;
    this.stale.checked = params.stale === "true";
    this.order.value = String(params.sort);
    this.clear.hidden = Object.keys(params).length === 1;
    for (const name of CHOICES) this.#fill(name);
  }

  /** @param {string} name @param {{key: string, nodes: number | null}[]} options */
  offer(name, options) {
    if (JSON.stringify(options) === JSON.stringify(this.#options[name])) return;
    this.#options[name] = options;
    this.#fill(name);
  }

  reset() {
    this.text.value = "";
    this.changed({ sort: this.params.sort }, false);
  }

  /** @param {string} name @param {string | string[]} value */
  #set(name, value) {
    const params = { ...this.params };
    if (value.length) params[name] = value;
    else delete params[name];
    this.changed(params, name === "q");
  }

  /** @param {(typeof CHOICES)[number]} name */
  #menu(name) {
    const menu = el("details", { class: "menu", "data-testid": `filter-${name}` });
    menu.append(el("summary", { class: "button" }, LABELS[name], el("span", { class: "count" }), icon("down")));
    menu.append(
      el(
        "fieldset",
        { class: "popover" },
        el("legend", { class: "sr" }, LABELS[name]),
        el("div", { class: "options" }),
      ),
    );
    menu.addEventListener("toggle", () => menu.open && this.#close(menu));
    return menu;
  }

  /** Draws the options of a menu, keeping the boxes that are there. @param {(typeof CHOICES)[number]} name */
  #fill(name) {
    const menu = this.#menus[name];
    const chosen = new Set(this.params[name] ?? []);
    const list = /** @type {HTMLElement} */ (menu.querySelector(".options"));
    const count = /** @type {HTMLElement} */ (menu.querySelector(".count"));
    count.textContent = chosen.size ? ` ${chosen.size}` : "";
    menu.classList.toggle("on", chosen.size > 0);
    const options = [...this.#options[name]];
    for (const key of chosen) if (!options.some((option) => option.key === key)) options.push({ key, nodes: null });
    const boxes = /** @type {HTMLInputElement[]} */ ([...list.querySelectorAll("input")]);
    if (boxes.length === options.length && boxes.every((box, at) => box.value === options[at].key)) {
      boxes.forEach((box, at) => {
        box.checked = chosen.has(box.value);
        const nodes = options[at].nodes;
        /** @type {HTMLElement} */ (box.parentElement?.lastElementChild).textContent =
          nodes === null ? "" : integer(nodes);
      });
      return;
    }
    list.replaceChildren(...options.map(({ key, nodes }) => this.#option(name, key, nodes, chosen.has(key))));
    if (!options.length) list.append(el("p", { class: "muted" }, "None known"));
  }

  /** @param {string} name @param {string} key @param {number | null} nodes @param {boolean} checked */
  #option(name, key, nodes, checked) {
    const box = el("input", { type: "checkbox", value: key });
    box.checked = checked;
    box.addEventListener("change", () => {
      const values = new Set(this.params[name] ?? []);
      if (box.checked) values.add(key);
      else values.delete(key);
      this.#set(name, [...values]);
    });
    return el(
      "label",
      null,
      box,
      name === "status" ? shape(key) : null,
      el("bdi", null, key),
      el("span", { class: "num muted" }, nodes === null ? "" : integer(nodes)),
    );
  }

  /** @param {EventTarget | null} inside closes all menus but the one that holds this */
  #close(inside) {
    for (const menu of Object.values(this.#menus)) {
      if (!(inside instanceof Node && menu.contains(inside))) menu.open = false;
    }
  }
}
