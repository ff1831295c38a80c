/** What a node was paid, epoch by epoch, and what each source said. */

import { get, isAbort, nodePath, url } from "./api.js";
import { age } from "./clock.js";
import { el, icon, put, unknown } from "./dom.js";
import { dated, gnkOfNgonka, integer, plural, time } from "./format.js";
import { amount, csvLink, failure, scroller, withRoles } from "./parts.js";
import { tag } from "./status.js";

/** @typedef {import("./types.js").EpochEarnings} EpochEarnings */

const PAGE = 25;
const HEADS = ["Epoch", "Settled", "GNK", "Work", "Reward", "Claimed", "Source", "State"];
const NUMERIC = new Set(["GNK", "Work", "Reward"]);

export class NodeEpochs {
  /** @type {EpochEarnings[]} */
  #items = [];
  /** @type {import("./types.js").Estimate[]} */
  #provisional = [];
  /** @type {string | null} */
  #next = null;
  /** @type {Set<number>} */
  #open = new Set();
  #drawn = "";
  #read = false;

  /** @param {string} identifier @param {AbortSignal} signal */
  constructor(identifier, signal) {
    this.identifier = identifier;
    this.signal = signal;
    this.body = el("tbody");
    this.table = withRoles(
      el(
        "table",
        { class: "plain epochs cardy", "aria-labelledby": "epochs-title", "data-testid": "epochs-table" },
        el(
          "thead",
          null,
          el(
            "tr",
            null,
            ...HEADS.map((head) => el("th", { scope: "col", class: NUMERIC.has(head) ? "n" : null }, head)),
          ),
        ),
        this.body,
      ),
    );
    this.note = el("div");
    this.more = el(
      "button",
      { type: "button", class: "button", hidden: true, "data-testid": "more-epochs", click: () => void this.#append() },
      "Older epochs",
    );
    this.root = el(
      "section",
      { class: "panel epochs-panel", "aria-labelledby": "epochs-title", "data-testid": "epochs" },
      el(
        "div",
        { class: "panel-head" },
        el("h2", { id: "epochs-title" }, "Epochs"),
        csvLink(
          url(`${nodePath(identifier)}/earnings`, { group: "epoch", format: "csv" }),
          `${identifier.replace(/[^\w.-]/g, "_")}-epochs.csv`,
        ),
      ),
      this.table,
      this.note,
      this.more,
    );
  }

  /** @param {string | null} cursor @returns {Promise<import("./types.js").EarningsByEpoch>} */
  #ask(cursor) {
    return get(`${nodePath(this.identifier)}/earnings`, { group: "epoch", limit: PAGE, cursor }, this.signal);
  }

  /** Reads the newest epochs and lays them over what is shown: older ones stay. */
  async readAgain() {
    try {
      const page = await this.#ask(null);
      const oldest = page.items.at(-1)?.epoch ?? -Infinity;
      const older = this.#items.filter((one) => one.epoch < oldest);
      if (!older.length) this.#next = page.next_cursor;
      this.#items = [...page.items, ...older];
      this.#provisional = page.provisional;
      this.#read = true;
      this.#draw();
    } catch (error) {
      if (!isAbort(error) && !this.#read)
        put(
          this.note,
          failure(error, () => void this.readAgain()),
        );
    }
  }

  async #append() {
    this.more.disabled = true;
    try {
      const page = await this.#ask(this.#next);
      const known = new Set(this.#items.map((one) => one.epoch));
      this.#items.push(...page.items.filter((one) => !known.has(one.epoch)));
      this.#next = page.next_cursor;
      this.#draw();
    } catch (error) {
      if (!isAbort(error))
        put(
          this.note,
          failure(error, () => void this.#append()),
        );
    } finally {
      this.more.disabled = false;
    }
  }

  #draw() {
    this.more.hidden = this.#next === null;
    const now = JSON.stringify([this.#items, this.#provisional]);
    if (now === this.#drawn) return;
    this.#drawn = now;
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.epoch : undefined;
    put(this.body, ...this.#provisional.map(estimateRow), ...this.#items.flatMap((one) => this.#rows(one)));
    put(
      this.note,
      this.#items.length || this.#provisional.length
        ? null
        : el("p", { class: "empty" }, "No source has told of an epoch of this node."),
    );
    if (focused) /** @type {HTMLElement | null} */ (this.body.querySelector(`[data-epoch="${focused}"]`))?.focus();
  }

  /** @param {EpochEarnings} one */
  #rows(one) {
    const open = this.#open.has(one.epoch);
    const id = `reports-${one.epoch}`;
    const button = el(
      "button",
      {
        type: "button",
        class: "button quiet expand",
        "aria-expanded": String(open),
        "aria-controls": id,
        "data-epoch": one.epoch,
        "data-testid": "expand-epoch",
      },
      icon("right"),
      el("span", { class: "num" }, integer(one.epoch)),
      el("span", { class: "sr" }, `, ${plural(one.reports.length, "report")}`),
    );
    const reports = el(
      "tr",
      { id, class: "reports", hidden: !open },
      el("td", { colspan: HEADS.length }, reportsTable(one)),
    );
    button.addEventListener("click", () => {
      const shows = reports.hidden;
      reports.hidden = !shows;
      button.setAttribute("aria-expanded", String(shows));
      if (shows) this.#open.add(one.epoch);
      else this.#open.delete(one.epoch);
    });
    const settled = el(
      "time",
      {
        datetime: one.settled_at,
        title: one.settled_exact
          ? time(one.settled_at)
          : `about ${time(one.settled_at)}: interpolated between blocks whose times are known`,
      },
      `${one.settled_exact ? "" : "≈ "}${dated(one.settled_at.slice(0, 10))}, ${one.settled_at.slice(11, 16)}`,
    );
    const final = one.reports.some((report) => report.counts && report.final) || !one.reports.length;
    const state = el(
      "span",
      { class: "tags" },
      tag(final ? "final" : "provisional", final ? "good" : "accent"),
      one.restated ? tag("restated", "warn", "The source that counts gave another amount before.") : null,
    );
    const cells = [
      settled,
      amount(one.gnk),
      ngonka(one.work_ngonka),
      ngonka(one.reward_ngonka),
      one.claimed === null ? unknown() : one.claimed ? "yes" : "no",
      el("bdi", null, one.source),
      state,
    ];
    return [
      el(
        "tr",
        { "data-testid": "epoch-row" },
        el("th", { scope: "row" }, button),
        ...cells.map((cell, at) =>
          el("td", { class: NUMERIC.has(HEADS[at + 1]) ? "n" : null, "data-label": HEADS[at + 1] }, cell),
        ),
      ),
      reports,
    ].map(withRoles);
  }
}

/** @param {string | null} value */
const ngonka = (value) => (value === null ? unknown() : amount(gnkOfNgonka(value), 4));

/** @param {import("./types.js").Estimate} one */
function estimateRow(one) {
  const cells = [
    age(one.observed_at, "seen "),
    el("span", null, "≈ ", amount(one.gnk)),
    unknown(),
    unknown(),
    unknown(),
    el("bdi", null, one.source),
    el(
      "span",
      { class: "tags" },
      tag("provisional", "accent", "An estimate: never part of any other amount."),
      one.method ? el("bdi", { class: "muted" }, one.method) : null,
    ),
  ];
  return withRoles(
    el(
      "tr",
      { class: "provisional", "data-testid": "provisional-row" },
      el("th", { scope: "row" }, el("span", { class: "num" }, integer(one.epoch))),
      ...cells.map((cell, at) =>
        el("td", { class: NUMERIC.has(HEADS[at + 1]) ? "n" : null, "data-label": HEADS[at + 1] }, cell),
      ),
    ),
  );
}

/** @param {EpochEarnings} one */
function reportsTable(one) {
  if (!one.reports.length) return el("p", { class: "muted" }, "No report is kept.");
  const heads = ["Source", "GNK", "State", "Versions", "Observed"];
  const body = el("tbody");
  for (const report of one.reports) {
    body.append(
      el(
        "tr",
        null,
        el("th", { scope: "row" }, el("bdi", null, report.source)),
        el("td", { class: "n" }, amount(gnkOfNgonka(report.ngonka))),
        el(
          "td",
          null,
          el(
            "span",
            { class: "tags" },
            tag(report.final ? "final" : "provisional", report.final ? "good" : "accent"),
            report.counts ? tag("counts", "plain", "History is made of this report.") : null,
          ),
        ),
        el("td", null, plural(report.versions, "version")),
        el("td", null, el("time", { datetime: report.observed_at }, time(report.observed_at))),
      ),
    );
  }
  return scroller(
    `Reports of epoch ${one.epoch}`,
    el(
      "table",
      { class: "plain inner", "aria-label": `Reports of epoch ${one.epoch}` },
      el(
        "thead",
        null,
        el("tr", null, ...heads.map((head) => el("th", { scope: "col", class: head === "GNK" ? "n" : null }, head))),
      ),
      body,
    ),
  );
}
