/** What a node is and how it does: the head of its page, and its windows. */

import { age } from "./clock.js";
import { el, given, icon, put, unknown } from "./dom.js";
import { dated, day, integer, range, shortId, time, trimmed, TYPE_NAMES } from "./format.js";
import { amount, change, copyButton, share, withRoles } from "./parts.js";
import { nameOf } from "./columns.js";
import { lastFleet } from "./router.js";
import { badge, tag } from "./status.js";

/** @typedef {import("./types.js").NodeDetail} NodeDetail */

const SPAN_NAMES = { "1d": "Last full day", "7d": "7 days", "30d": "30 days", "90d": "90 days", all: "All" };
const FACTS = [
  "As of",
  "Source",
  "GPU",
  "Region",
  "Model",
  "Weight",
  "Jobs this epoch",
  "Tokens/s",
  "Uptime 24 h",
  "Total",
  "First seen",
];
const WIDE = new Set(["Model", "Total"]);

export class NodeHead {
  /** @param {string} identifier */
  constructor(identifier) {
    this.name = shortId(identifier);
    this.title = el("h1", { tabindex: "-1" }, el("bdi", null, this.name));
    this.state = el("p", { class: "node-state", "data-testid": "node-status" });
    this.estimate = el("div", { class: "estimate", "data-testid": "node-estimate" }, el("p", null, "\u00a0"));
    this.facts = el("dl", { class: "facts", "data-testid": "node-facts" });
    this.#facts(FACTS.map(() => " "));
    const address = el(
      "p",
      { class: "address" },
      el("bdi", { class: "mono", "data-testid": "node-address" }, identifier),
      copyButton(identifier, "address"),
    );
    this.root = el(
      "section",
      { class: "panel node-head", "aria-label": "Node", "data-testid": "node-head" },
      el("a", { class: "back", href: lastFleet(), "data-testid": "back" }, icon("back"), "Fleet"),
      el("div", { class: "node-title" }, this.title, this.state),
      address,
      this.facts,
      this.estimate,
    );
  }

  /** @param {(string | Node | null)[]} values */
  #facts(values) {
    put(
      this.facts,
      ...FACTS.map((name, at) =>
        el("div", { class: WIDE.has(name) ? "wide" : null }, el("dt", null, name), el("dd", null, values[at])),
      ),
    );
  }

  /** @param {NodeDetail} node */
  show(node) {
    this.name = nameOf(node);
    put(/** @type {Element} */ (this.title.firstElementChild), this.name);
    put(
      this.state,
      badge(node.status),
      tag(TYPE_NAMES[node.identifier_type] ?? node.identifier_type),
      node.stale ? tag("stale", "warn", "Older than the time to live: a refresh has been asked for.") : null,
    );
    this.#facts([
      node.fetched_at === null ? unknown() : age(node.fetched_at),
      given(node.source),
      given(node.gpu_type),
      given(node.region),
      given(node.active_model),
      node.voting_weight === null ? unknown() : trimmed(node.voting_weight),
      node.jobs_day === null ? unknown() : integer(node.jobs_day),
      node.tokens_per_sec === null ? unknown() : String(node.tokens_per_sec),
      share(node.uptime_percent, 2),
      el("span", null, amount(node.earnings_total_gnk), " GNK"),
      el(
        "time",
        { datetime: node.first_seen, title: time(node.first_seen) },
        day(node.first_seen.slice(0, 10)),
      ),
    ]);
    put(
      this.estimate,
      node.provisional.length ? null : el("p", null, "No source estimates the running epoch."),
      ...node.provisional.map((one) =>
        el(
          "p",
          null,
          tag("estimate", "accent", "Provisional: never part of any other amount."),
          ` epoch ${integer(one.epoch)} may bring ≈ `,
          el("strong", null, amount(one.gnk)),
          " GNK, says ",
          el("bdi", null, one.source),
          one.method ? " (" : "",
          one.method ? el("bdi", null, one.method) : null,
          one.method ? ")" : "",
          ", ",
          age(one.observed_at),
        ),
      ),
    );
  }
}

/** @param {import("./types.js").Window[]} windows */
export function windowsTable(windows) {
  if (!windows.length) return el("p", { class: "empty" }, "Nothing has settled for this node yet.");
  const heads = ["Window", "GNK", "Per day", "Change", "Before", "Days settled", "Best day", "Worst day"];
  const numeric = new Set(["GNK", "Per day", "Change", "Before", "Days settled", "Best day", "Worst day"]);
  const table = el(
    "table",
    { class: "plain cardy", "aria-labelledby": "windows-title" },
    el(
      "thead",
      null,
      el("tr", null, ...heads.map((head) => el("th", { scope: "col", class: numeric.has(head) ? "n" : null }, head))),
    ),
  );
  const body = el("tbody");
  for (const one of windows) {
    const cells = [
      amount(one.gnk),
      amount(one.average_gnk, 4),
      change(one),
      amount(one.before_gnk, 4),
      el("span", { class: "num" }, integer(one.days)),
      dayCell(one.best),
      dayCell(one.worst),
    ];
    body.append(
      el(
        "tr",
        { "data-testid": `window-${one.span}` },
        el("th", { scope: "row" }, SPAN_NAMES[one.span], el("span", { class: "under" }, range(one.since, one.until))),
        ...cells.map((cell, at) => el("td", { class: "n", "data-label": heads[at + 1] }, cell)),
      ),
    );
  }
  table.append(body);
  return withRoles(table);
}

/** @param {import("./types.js").DayAmount | null} one */
const dayCell = (one) =>
  one === null ? unknown() : el("span", null, amount(one.gnk, 4), el("span", { class: "under" }, dated(one.date)));
