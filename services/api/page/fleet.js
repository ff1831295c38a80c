/** The fleet: cards, and the table of nodes. */

import { announce, announceStatus } from "./announce.js";
import { get, isAbort, url } from "./api.js";
import { Cards } from "./cards.js";
import { COLUMNS, createRow, descendingFirst, nameOf, updateRow } from "./columns.js";
import { el, put, setText } from "./dom.js";
import { Filters, paramsOf, queryOf } from "./filters.js";
import { integer, plural } from "./format.js";
import { NodeList } from "./nodelist.js";
import { atMostEvery } from "./pace.js";
import { csvLink, failure } from "./parts.js";
import { fleetHref, noteFleet, replaceHash, stepTo } from "./router.js";
import { WindowedRows } from "./windowed.js";

const READ_AGAIN_MS = 5000;
const SUMMARY_MS = 10_000;
const AHEAD_ROWS = 30;

/**
 * The one view that lives on while others are shown, so that going back finds the table as it was.
 * @param {AbortSignal} signal
 * @returns {import("./types.js").View}
 */
export function fleetView(signal) {
  const list = new NodeList();
  const cards = new Cards(signal);
  const filters = new Filters((params, typed) => void apply(params, typed));
  const count = el("p", { class: "muted", "data-testid": "node-count" }, " ");
  const csv = csvLink(url("/nodes", { format: "csv" }), "nodes.csv");
  const moved = el(
    "button",
    { type: "button", class: "button accent moved", hidden: true, "data-testid": "moved", click: () => void load() },
    "Order has changed: sort again",
  );
  const body = el("tbody", { role: "rowgroup" });
  const heads = COLUMNS.map((column) => {
    const button = el(
      "button",
      { type: "button", title: column.title, "data-testid": `sort-${column.sort}`, click: () => sortBy(column) },
      column.label,
    );
    return el(
      "th",
      { role: "columnheader", scope: "col", class: `c-${column.sort}${column.numeric ? " n" : ""}` },
      button,
    );
  });
  const table = el(
    "table",
    { class: "nodes", role: "table", "aria-label": "Nodes", "data-testid": "nodes" },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads)),
    body,
  );
  const end = el("div", { class: "table-end", "data-testid": "table-end" });
  const more = el(
    "button",
    { type: "button", class: "button", hidden: true, "data-testid": "load-more", click: () => void loadMore() },
    "Load more",
  );
  const root = el(
    "div",
    { class: "fleet", "data-testid": "view-fleet" },
    el("h1", { class: "sr", tabindex: "-1" }, "Fleet"),
    cards.root,
    el(
      "section",
      { class: "panel table-panel", "aria-label": "Nodes" },
      el("div", { class: "table-tools" }, filters.root, el("div", { class: "table-side" }, count, csv)),
      table,
      end,
      more,
    ),
    moved,
  );
  const rows = new WindowedRows(body, {
    create: createRow,
    update: updateRow,
    seen: (_, last) => last > list.items.length - AHEAD_ROWS && list.hasMore && void loadMore(),
  });
  /** @type {Record<string, string | string[]> | null} */
  let loaded = null;
  let loading = 0;
  let broken = false;

  /** @param {import("./columns.js").Column} column */
  function sortBy(column) {
    const now = String(filters.params.sort);
    const first = descendingFirst(column) ? `-${column.sort}` : column.sort;
    const other = descendingFirst(column) ? column.sort : `-${column.sort}`;
    void apply({ ...filters.params, sort: now === first ? other : first });
  }

  /**
   * @param {Record<string, string | string[]>} params
   * @param {boolean} [typed] letter by letter: no step of its own for the back button
   */
  async function apply(params, typed = false) {
    (typed ? replaceHash : stepTo)(fleetHref(queryOf(params)));
    show(params);
    await load();
    announce(`${plural(list.total ?? 0, "node")} ${list.total === 1 ? "passes" : "pass"} the filters.`);
  }

  /** @param {Record<string, string | string[]>} params */
  function show(params) {
    filters.show(params);
    noteFleet(fleetHref(queryOf(params)));
    const sort = String(params.sort);
    COLUMNS.forEach((column, at) => {
      if (sort.replace(/^-/, "") === column.sort)
        heads[at].setAttribute("aria-sort", sort.startsWith("-") ? "descending" : "ascending");
      else heads[at].removeAttribute("aria-sort");
    });
    csv.href = url("/nodes", { ...params, format: "csv" });
  }

  async function load() {
    const mine = ++loading;
    table.setAttribute("aria-busy", "true");
    try {
      await list.load(filters.params);
      if (mine !== loading) return;
      loaded = filters.params;
      broken = false;
      draw();
      const above = table.getBoundingClientRect().top;
      if (root.isConnected && above < 0) scrollTo({ top: scrollY + above - 120 });
    } catch (error) {
      if (mine !== loading || isAbort(error)) return;
      broken = true;
      if (!list.items.length) put(end, failure(error, load));
      else announce(error instanceof Error ? error.message : "");
    } finally {
      if (mine === loading) table.setAttribute("aria-busy", "false");
    }
  }

  async function loadMore() {
    try {
      if (await list.more()) draw();
    } catch (error) {
      if (!isAbort(error)) more.hidden = false;
    }
  }

  function draw() {
    rows.show(list.items);
    const total = list.total ?? 0;
    table.setAttribute("aria-rowcount", String(total + 1));
    const all = list.items.length >= total;
    setText(count, all ? plural(total, "node") : `${integer(list.items.length)} of ${plural(total, "node")}`);
    more.hidden = true;
    moved.hidden = !list.moved;
    put(end, total === 0 ? noNodes() : all ? null : el("p", { class: "muted pad" }, "Loading more…"));
  }

  function noNodes() {
    const filtered = Object.keys(filters.params).length > 1;
    const text = filtered
      ? "No node passes these filters."
      : "No node is known yet: nodes come with the first reading of a source.";
    const clear = el("button", { type: "button", class: "button", click: () => filters.reset() }, "Clear the filters");
    return el("div", { class: "empty", "data-testid": "no-nodes" }, el("p", null, text), filtered ? clear : null);
  }

  const readSummary = atMostEvery(
    async () => {
      if (!root.isConnected) return;
      try {
        const [summary, sources] = await Promise.all([get("/summary"), get("/sources")]);
        cards.show(summary);
        filters.offer(
          "status",
          ["healthy", "unhealthy", "jailed", "offline", "unknown"].map((key) => ({ key, nodes: summary.nodes[key] })),
        );
        filters.offer("gpu_type", summary.gpu_types);
        filters.offer("region", summary.regions);
        filters.offer(
          "source",
          sources.items.map((/** @type {import("./types.js").Source} */ one) => ({ key: one.name, nodes: one.nodes })),
        );
      } catch (error) {
        if (cards.root.getAttribute("aria-busy") === "true") announce(error instanceof Error ? error.message : "");
      }
    },
    SUMMARY_MS,
    signal,
  );

  const readAgain = atMostEvery(
    async () => {
      if (!root.isConnected || loaded === null) return;
      const [first, last] = rows.range;
      const calm = scrollY < 200 && !body.matches(":hover, :focus-within");
      try {
        await list.refresh(first, last, calm);
        if (root.isConnected) draw();
      } catch {
        // The notice of the shell tells; what is shown stays.
      }
    },
    READ_AGAIN_MS,
    signal,
  );

  return {
    root,
    title: "Fleet",
    enter({ query }) {
      const params = paramsOf(query);
      show(params);
      readSummary();
      if (loaded !== null && JSON.stringify(loaded) === JSON.stringify(params)) {
        rows.draw();
        readAgain();
      } else void load();
    },
    event(type, data) {
      if (type === "status") {
        const node = list.find(data.identifier);
        if (node) {
          list.patch({
            ...node,
            status: data.to,
            fetched_at: data.at ?? node.fetched_at,
            source: data.source ?? node.source,
            stale: false,
          });
          rows.draw();
          announceStatus(data.identifier, nameOf(node), data.to ?? "unknown");
        }
      }
      if (type === "settlement") announce(`Epoch ${data.epoch} has ${data.restated ? "been restated" : "settled"}.`);
      readSummary();
      if (type === "readings" || type === "earnings" || type === "settlement") readAgain();
    },
    reload() {
      readSummary();
      if (loaded === null || broken) void load();
      else readAgain();
    },
  };
}
