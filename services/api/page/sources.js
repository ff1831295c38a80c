/** The trackers and how they do. */

import { announce } from "./announce.js";
import { get } from "./api.js";
import { age } from "./clock.js";
import { el, put, unknown } from "./dom.js";
import { duration, integer, plural } from "./format.js";
import { atMostEvery } from "./pace.js";
import { failure } from "./parts.js";
import { fleetHref } from "./router.js";
import { badge, tag } from "./status.js";

/** @typedef {import("./types.js").Source} Source */

const MEANINGS = {
  ok: "answers with data of the moment",
  stale: "answers, with data older than the time to live",
  failing: "its last attempt failed",
  silent: "nobody has polled it for three intervals",
  unknown: "has not been polled yet",
};

/**
 * @param {AbortSignal} signal
 * @returns {import("./types.js").View}
 */
export function sourcesView(signal) {
  const list = el(
    "div",
    { class: "source-list", "data-testid": "source-list" },
    ...Array.from({ length: 3 }, () => el("div", { class: "panel source skeleton" })),
  );
  const lead = el("p", { class: "muted", "data-testid": "source-count" }, " ");
  const root = el(
    "div",
    { class: "sources", "data-testid": "view-sources" },
    el("div", { class: "view-head" }, el("h1", { tabindex: "-1" }, "Sources"), lead),
    list,
  );
  /** @type {Source[] | null} */
  let items = null;
  let drawn = "";

  function draw() {
    if (!items) return;
    const text = JSON.stringify(items.map(({ data_age_seconds: _, ...lasting }) => lasting));
    if (text === drawn) return;
    drawn = text;
    const well = items.filter((one) => one.state === "ok").length;
    put(lead, `${well} of ${plural(items.length, "source")} ok`);
    put(list, ...items.map(panel), items.length ? null : el("p", { class: "empty panel" }, "No source is configured."));
  }

  const read = atMostEvery(
    async () => {
      if (!root.isConnected) return;
      try {
        items = (await get("/sources")).items;
        draw();
      } catch (error) {
        if (!items) put(list, failure(error, read));
      }
    },
    5000,
    signal,
  );

  return {
    root,
    title: "Sources",
    enter: read,
    event(type, data) {
      if (type === "source") {
        announce(`Source ${data.name} is now ${data.to}.`);
        const one = items?.find((each) => each.name === data.name);
        if (one) {
          one.state = data.to;
          draw();
        }
      }
      read();
    },
    reload: read,
  };
}

/** @param {Source} source */
function panel(source) {
  const when = (/** @type {string | null} */ moment) => (moment === null ? unknown() : age(moment));
  const number = (/** @type {number | null} */ value) =>
    value === null ? unknown() : el("span", { class: "num" }, integer(value));
  /** @type {[string, Node | string][]} */
  const facts = [
    ["Newest data", when(source.data_at)],
    ["Last attempt", when(source.last_attempt_at)],
    ["Last success", when(source.last_success_at)],
    ["Polled every", source.poll_interval_seconds === null ? unknown() : duration(source.poll_interval_seconds)],
    ["Epoch", number(source.epoch)],
    ["Height", number(source.height)],
    [
      "Shown for",
      el("a", { href: fleetHref(new URLSearchParams({ source: source.name })) }, plural(source.nodes, "node")),
    ],
    ["Earnings order", number(source.earnings_order)],
    ["Preferred for", duration(source.preference_seconds)],
  ];
  const error =
    source.last_error === null
      ? null
      : el(
          "div",
          { class: `source-error${source.state === "failing" ? " now" : ""}` },
          el(
            "p",
            null,
            el("strong", null, source.state === "failing" ? "Error" : "Last error"),
            source.last_error_at === null ? null : el("span", { class: "muted" }, " ", age(source.last_error_at)),
          ),
          el("p", { class: "mono" }, el("bdi", null, source.last_error)),
        );
  return el(
    "section",
    { class: "panel source", "aria-label": source.name, "data-testid": "source", "data-name": source.name },
    el(
      "div",
      { class: "panel-head" },
      el("h2", null, el("bdi", null, source.name)),
      el("span", { title: MEANINGS[source.state] }, badge(source.state)),
      source.kind === null || source.kind === source.name ? null : tag(source.kind),
      source.probes_health ? tag("probes health", "plain", "Its readings count for uptime.") : null,
    ),
    el(
      "dl",
      { class: "facts" },
      ...facts.map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value))),
    ),
    error,
  );
}
