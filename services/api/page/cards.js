/** The cards above the table: the fleet at a glance. */

import { age } from "./clock.js";
import { DayChart } from "./charts.js";
import { el, put, svg, unknown } from "./dom.js";
import { integer, plural, range, rounded, time, trimmed, weekday } from "./format.js";
import { amount, change, legendOf, share } from "./parts.js";
import { fleetHref } from "./router.js";
import { badge, shape, SOURCE_STATES, STATUSES, tag } from "./status.js";

/** @typedef {import("./types.js").Summary} Summary */

/** @param {string} name @param {string} title @param {Node | null} [mark] */
function card(name, title, mark = null) {
  const body = el("div", { class: "card-body" });
  const root = el(
    "div",
    { class: `card card-${name}`, role: "group", "aria-label": title, "data-testid": `card-${name}` },
    el("h2", null, title, mark),
    body,
  );
  return { root, body };
}

/**
 * An amount in large digits: where the whole part is long, that is enough.
 * @param {string | null} gnk
 */
const large = (gnk) => amount(gnk, gnk !== null && gnk.replace("-", "").indexOf(".") > 5 ? 0 : 2);

/** @param {Node} value @param {string} unit */
const figure = (value, unit) =>
  el("p", { class: "figure" }, value, unit ? el("span", { class: "unit" }, ` ${unit}`) : null);

export class Cards {
  /** @param {AbortSignal} signal */
  constructor(signal) {
    this.nodes = card("nodes", "Nodes");
    this.spans = /** @type {const} */ ([
      ["1d", card("day", "Last full day")],
      ["7d", card("week", "7 days")],
      ["30d", card("month", "30 days")],
    ]);
    this.uptime = card("uptime", "Uptime 24 h");
    this.daily = card("daily", "GNK a day, 90 days");
    this.estimate = card(
      "estimate",
      "Running epoch",
      tag("estimate", "accent", "Provisional: never part of any other amount."),
    );
    this.settlement = card("settlement", "Newest settlement");
    this.sources = card("sources", "Sources");
    this.chart = new DayChart({ label: "Fleet GNK a day", signal, testid: "fleet-chart" });
    const legend = legendOf([
      ["area", "a day"],
      ["line", "7-day average"],
    ]);
    this.daily.root.firstElementChild?.append(legend);
    this.nothing = el("p", { hidden: true }, "Nothing has settled yet.");
    this.daily.body.append(this.nothing, this.chart.root);
    this.root = el(
      "div",
      { class: "cards", "data-testid": "summary", "aria-busy": "true" },
      this.nodes.root,
      this.uptime.root,
      ...this.spans.map(([, one]) => one.root),
      this.daily.root,
      this.estimate.root,
      this.settlement.root,
      this.sources.root,
    );
    for (const one of [
      this.nodes,
      ...this.spans.map(([, span]) => span),
      this.uptime,
      this.estimate,
      this.settlement,
      this.sources,
    ])
      put(one.body, el("div", { class: "skeleton" }));
  }

  /** @param {Summary} summary */
  show(summary) {
    this.root.setAttribute("aria-busy", "false");
    this.#nodes(summary);
    for (const [span, { body }] of this.spans) {
      const found = summary.windows.find((one) => one.span === span);
      if (!found) put(body, figure(unknown(), "GNK"));
      else
        put(
          body,
          figure(large(found.gnk), "GNK"),
          el("p", null, change(found, span === "1d" ? "vs day before" : `vs ${span.replace("d", " days")} before`)),
          el(
            "p",
            { class: "muted", title: "UTC days" },
            span === "1d" ? weekday(found.until) : range(found.since, found.until),
          ),
        );
    }
    const weight =
      summary.voting_weight === null ? unknown() : el("span", { class: "num" }, trimmed(summary.voting_weight));
    put(
      this.uptime.body,
      figure(share(summary.uptime_percent, 2), ""),
      el("p", null, "mean of all nodes"),
      el("p", { class: "muted" }, "weight ", weight),
    );
    this.#estimate(summary.estimate);
    this.#settlement(summary.settlements);
    this.#sources(summary.sources);
    this.#chart(summary.daily);
  }

  /** @param {Summary} summary */
  #nodes({ nodes }) {
    const bar = svg("svg", {
      class: "bar",
      viewBox: "0 0 100 1",
      preserveAspectRatio: "none",
      "aria-hidden": "true",
      focusable: "false",
    });
    const list = el("ul", { class: "counts" });
    let at = 0;
    for (const status of /** @type {const} */ ([...STATUSES, "unknown"])) {
      const count = nodes[status];
      if (status === "unknown" && count === 0) continue;
      const width = nodes.total ? (100 * count) / nodes.total : 0;
      bar.append(svg("rect", { class: `s-${status}`, x: at, y: 0, width, height: 1 }));
      at += width;
      list.append(
        el(
          "li",
          null,
          el(
            "a",
            {
              href: fleetHref(new URLSearchParams({ status })),
              class: `s-${status}`,
              "data-testid": `count-${status}`,
            },
            shape(status),
            el("strong", { class: "num" }, integer(count)),
            ` ${status}`,
          ),
        ),
      );
    }
    const stale = el(
      "a",
      {
        href: fleetHref(new URLSearchParams({ stale: "true" })),
        title: "Their reading is older than the time to live",
        "data-testid": "count-stale",
      },
      shape("stale"),
      `${integer(nodes.stale)} stale`,
    );
    const total = figure(el("span", { class: "num" }, integer(nodes.total)), nodes.total === 1 ? "node" : "nodes");
    put(this.nodes.body, el("div", { class: "figure" }, total, stale), bar, list);
  }

  /** @param {Summary["estimate"]} estimate */
  #estimate(estimate) {
    if (estimate === null)
      return put(this.estimate.body, figure(unknown(), "GNK"), el("p", { class: "muted" }, "No source estimates it."));
    const methods = estimate.methods.join(", ") || "method not told";
    put(
      this.estimate.body,
      figure(el("span", null, "≈ ", large(estimate.gnk)), "GNK"),
      el("p", null, `epoch ${integer(estimate.epoch)}, ${plural(estimate.nodes, "node")}`),
      el("p", { class: "muted", title: methods }, el("bdi", null, methods), ", ", age(estimate.observed_at)),
    );
  }

  /** @param {Summary["settlements"]} settlements */
  #settlement([newest]) {
    if (!newest)
      return put(this.settlement.body, figure(unknown(), "GNK"), el("p", { class: "muted" }, "No epoch has settled."));
    put(
      this.settlement.body,
      figure(large(newest.gnk), "GNK"),
      el("p", null, `epoch ${integer(newest.epoch)}, ${plural(newest.nodes, "node")}`),
      el(
        "p",
        {
          class: "muted",
          title: newest.settled_exact ? time(newest.settled_at) : `about ${time(newest.settled_at)}: interpolated`,
        },
        age(newest.settled_at, newest.settled_exact ? "" : "about "),
      ),
    );
  }

  /** @param {Summary["sources"]} sources */
  #sources(sources) {
    const states = SOURCE_STATES.filter((state) => sources[state]);
    const total = Object.values(sources).reduce((sum, count) => sum + count, 0);
    put(
      this.sources.body,
      figure(el("span", { class: "num" }, `${sources.ok ?? 0} / ${total}`), "ok"),
      el(
        "p",
        { class: "states" },
        ...states
          .filter((state) => state !== "ok")
          .map((state) => el("span", null, badge(state), ` ${sources[state]}`)),
        total > 0 && states.length === 1 && states[0] === "ok" ? badge("ok") : null,
      ),
      el("p", { class: "muted" }, el("a", { href: "#/sources" }, "All sources")),
    );
  }

  /** @param {Summary["daily"]} daily */
  #chart(daily) {
    this.nothing.hidden = daily.length > 0;
    this.chart.root.hidden = !daily.length;
    if (!daily.length) return;
    const byDate = new Map(daily.map((one) => [one.date, one]));
    const days = [];
    const last = Date.parse(daily[daily.length - 1].date);
    for (let at = Date.parse(daily[0].date); at <= last; at += 86_400_000)
      days.push(new Date(at).toISOString().slice(0, 10));
    this.chart.show({
      days,
      series: [
        {
          label: "a day",
          kind: "area",
          token: "--accent-soft",
          values: days.map((date) => (byDate.has(date) ? Number(byDate.get(date)?.gnk) : null)),
        },
        {
          label: "7-day average",
          kind: "line",
          token: "--accent",
          values: days.map((date) => (byDate.has(date) ? Number(byDate.get(date)?.average_7d_gnk) : null)),
        },
      ],
      describe: (index) => {
        const one = byDate.get(days[index]);
        if (!one) return [weekday(days[index]), "nothing settled that is known"];
        return [
          weekday(one.date),
          `${rounded(one.gnk, 2)} GNK`,
          `7-day average ${rounded(one.average_7d_gnk, 2)}`,
          plural(one.nodes, "node"),
        ];
      },
    });
  }
}
