/** A node's GNK by day: bars, and the same as a table. */

import { get, isAbort, nodePath, url } from "./api.js";
import { DayChart } from "./charts.js";
import { el, put, setText, unknown } from "./dom.js";
import { exact, plural, weekday } from "./format.js";
import { amount, csvLink, failure, legendOf, scroller, segments } from "./parts.js";
import { rememberInHash } from "./router.js";
import { tag } from "./status.js";
import { dateIn, datesBetween, known, zoneSelect } from "./zones.js";

/** @typedef {import("./types.js").PeriodEarnings} PeriodEarnings */

const LENGTHS = ["7", "30", "90"];

export class NodeDays {
  /** @type {string[]} */
  #dates = [];
  /** @type {Map<string, PeriodEarnings>} */
  #byDate = new Map();
  #reading = 0;

  /**
   * @param {string} identifier
   * @param {URLSearchParams} query of the address: `days` and `tz`
   * @param {AbortSignal} signal
   */
  constructor(identifier, query, signal) {
    this.identifier = identifier;
    this.signal = signal;
    this.length = LENGTHS.includes(query.get("days") ?? "") ? String(query.get("days")) : "30";
    this.zone = known(query.get("tz"));
    this.chart = new DayChart({ label: "GNK a day", signal, testid: "days-chart" });
    this.statement = el("p", { class: "muted small", "data-testid": "zone-statement" });
    this.summary = el("p", { class: "sr", "data-testid": "days-summary" });
    this.csv = csvLink("", `${identifier.replace(/[^\w.-]/g, "_")}-days.csv`);
    this.problem = el("div");
    this.list = scroller("Days");
    this.table = el(
      "details",
      { class: "as-table", "data-testid": "days-table" },
      el("summary", null, "Show as a table"),
      this.list,
    );
    this.table.addEventListener("toggle", () => this.#fillTable());
    const lengths = segments(
      "Days",
      LENGTHS.map((one) => [one, `${one} d`]),
      this.length,
      (value) => {
        this.length = value;
        rememberInHash("days", value === "30" ? "" : value);
        void this.read();
      },
    );
    const zones = zoneSelect(this.zone, (zone) => {
      this.zone = zone;
      rememberInHash("tz", zone === "UTC" ? "" : zone);
      void this.read();
    });
    const legend = legendOf([
      ["bar", "settled"],
      ["hatch", "today, not final"],
      ["gap", "no settlement known"],
    ]);
    this.root = el(
      "section",
      { class: "panel", "aria-labelledby": "days-title", "data-testid": "days" },
      el("div", { class: "panel-head" }, el("h2", { id: "days-title" }, "GNK a day"), lengths, zones, this.csv),
      el("div", { class: "row" }, this.statement, legend),
      this.chart.root,
      this.summary,
      this.problem,
      this.table,
    );
  }

  async read() {
    const mine = ++this.#reading;
    const until = dateIn(this.zone);
    const since = dateIn(this.zone, 1 - Number(this.length));
    /** @type {Record<string, string>} */
    const params = { group: "day", since, until };
    if (this.zone !== "UTC") params.tz = this.zone;
    this.csv.href = url(`${nodePath(this.identifier)}/earnings`, { ...params, format: "csv" });
    this.#state(since, until);
    try {
      /** @type {PeriodEarnings[]} */
      const items = [];
      /** @type {string | null} */
      let cursor = null;
      do {
        const page = await get(`${nodePath(this.identifier)}/earnings`, { ...params, limit: 100, cursor }, this.signal);
        items.push(...page.items);
        cursor = page.next_cursor;
      } while (cursor !== null);
      if (mine !== this.#reading) return;
      put(this.problem);
      this.#show(datesBetween(since, until), items);
    } catch (error) {
      if (mine !== this.#reading || isAbort(error)) return;
      if (!this.#dates.length)
        put(
          this.problem,
          failure(error, () => void this.read()),
        );
    }
  }

  /** @param {string} since @param {string} until */
  #state(since, until) {
    const range = `${weekday(since)} to ${weekday(until)}. `;
    setText(
      this.statement,
      range +
        (this.zone === "UTC"
          ? "Days are UTC dates of settlement, as in the recorded history."
          : `Epochs by their date of settlement in ${this.zone}. The recorded history has UTC days: its rows may differ from these.`),
    );
  }

  /** @param {string[]} dates @param {PeriodEarnings[]} items */
  #show(dates, items) {
    this.#dates = dates;
    this.#byDate = new Map(items.map((one) => [one.starts, one]));
    const value = (/** @type {string} */ date, /** @type {boolean} */ final) => {
      const one = this.#byDate.get(date);
      return one && one.final === final ? Number(one.gnk) : null;
    };
    this.chart.show({
      days: dates,
      series: [
        { label: "settled", kind: "bars", token: "--accent", values: dates.map((date) => value(date, true)) },
        { label: "not final", kind: "hatched", token: "--accent", values: dates.map((date) => value(date, false)) },
      ],
      describe: (index) => this.#describe(dates[index]),
    });
    const settled = dates.filter((date) => this.#byDate.has(date)).length;
    setText(
      this.summary,
      `Settlements on ${settled} of ${plural(dates.length, "day")}; nothing is known of the others.`,
    );
    this.#fillTable();
  }

  /** @param {string} date */
  #describe(date) {
    const one = this.#byDate.get(date);
    if (!one) return [weekday(date), "no settlement known"];
    return [
      weekday(date),
      `${exact(one.gnk)} GNK`,
      one.final ? `from ${one.source ?? "several sources"}` : "so far: the day is not over",
    ];
  }

  #fillTable() {
    if (!this.table.open) return;
    const body = el("tbody");
    for (const date of [...this.#dates].reverse()) {
      const one = this.#byDate.get(date);
      body.append(
        el(
          "tr",
          null,
          el("th", { scope: "row" }, weekday(date)),
          el("td", { class: "n" }, one ? amount(one.gnk) : unknown()),
          el(
            "td",
            null,
            one ? tag(one.final ? "final" : "not final", one.final ? "good" : "warn") : tag("no settlement known"),
          ),
          el("td", null, one?.source ? el("bdi", null, one.source) : ""),
        ),
      );
    }
    put(
      this.list,
      el(
        "table",
        { class: "plain", "aria-labelledby": "days-title" },
        el(
          "thead",
          null,
          el(
            "tr",
            null,
            el("th", { scope: "col" }, "Day"),
            el("th", { scope: "col", class: "n" }, "GNK"),
            el("th", { scope: "col" }, "State"),
            el("th", { scope: "col" }, "Source"),
          ),
        ),
        body,
      ),
    );
  }
}
