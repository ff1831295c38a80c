/** The columns of the table of nodes. */

import { age } from "./clock.js";
import { el, unknown } from "./dom.js";
import { dated, integer, rounded, shortId, trimmed, TYPE_NAMES } from "./format.js";
import { amount, copyButton, share } from "./parts.js";
import { nodeHref } from "./router.js";
import { badge, tag } from "./status.js";

/** @typedef {import("./types.js").FleetNode} FleetNode */
/** @typedef {{sort: string, label: string, title?: string, numeric?: boolean, cell: (node: FleetNode) => (Node | string)[]}} Column */

/** @param {FleetNode} node */
export const nameOf = (node) => node.display_name ?? shortId(node.identifier);

/** @param {FleetNode} node */
function identity(node) {
  const link = el("a", {
    class: "name",
    href: nodeHref(node.identifier),
    title: node.identifier,
    "data-testid": "node-link",
  });
  const under = el("span", { class: "under" });
  if (node.display_name === null) {
    link.append(el("bdi", { class: "mono" }, shortId(node.identifier)));
    under.append(TYPE_NAMES[node.identifier_type] ?? node.identifier_type);
  } else {
    link.append(el("bdi", null, node.display_name));
    under.append(el("bdi", { class: "mono" }, shortId(node.identifier)));
  }
  return [el("span", { class: "ident" }, link, under), copyButton(node.identifier, `address of ${nameOf(node)}`)];
}

/**
 * Text that may be cut, whole in its title.
 * @param {string | null} text
 * @param {string | null} [short]
 */
function text(text, short = text) {
  return text === null || short === null ? unknown() : el("bdi", { title: text }, short);
}

/** The last part of a model's path. @param {string | null} model */
const modelName = (model) => model && (model.split("/").pop() || model);

/** @param {FleetNode} node */
function newestDay(node) {
  const earned = node.earnings_day;
  if (earned === null) return [unknown()];
  const date = el(
    "span",
    { class: "under" },
    dated(earned.date),
    earned.final ? null : el("span", { title: "The day is not over." }, " so far"),
  );
  return [amount(earned.gnk, 4), date];
}

/** @param {FleetNode} node */
function updated(node) {
  if (node.fetched_at === null) return [unknown()];
  return [
    age(node.fetched_at),
    node.stale ? tag("stale", "warn", "Older than the time to live: a refresh has been asked for.") : "",
  ];
}

/** @type {Column[]} */
export const COLUMNS = [
  { sort: "identifier", label: "Node", cell: identity },
  { sort: "status", label: "Status", title: "As last reported", cell: (node) => [badge(node.status)] },
  { sort: "gpu_type", label: "GPU", cell: (node) => [text(node.gpu_type)] },
  { sort: "region", label: "Region", cell: (node) => [text(node.region)] },
  { sort: "active_model", label: "Model", cell: (node) => [text(node.active_model, modelName(node.active_model))] },
  {
    sort: "earnings_total",
    label: "Total GNK",
    title: "All that has settled",
    numeric: true,
    cell: (node) => [amount(node.earnings_total_gnk, 2)],
  },
  {
    sort: "earnings_day",
    label: "Newest day",
    title: "GNK of the newest UTC day with a settlement",
    numeric: true,
    cell: newestDay,
  },
  {
    sort: "uptime",
    label: "Uptime",
    title: "Of the last 24 hours: healthy ÷ reachable five-minute slots",
    numeric: true,
    cell: (node) => [share(node.uptime_percent)],
  },
  {
    sort: "weight",
    label: "Weight",
    title: "Voting weight in the epoch's group",
    numeric: true,
    cell: (node) => [
      node.voting_weight === null
        ? unknown()
        : el(
            "span",
            { class: "num", title: trimmed(node.voting_weight) },
            rounded(node.voting_weight, 2).replace(/\.00$/, ""),
          ),
    ],
  },
  {
    sort: "jobs",
    label: "Jobs",
    title: "Inferences of the running epoch",
    numeric: true,
    cell: (node) => [node.jobs_day === null ? unknown() : el("span", { class: "num" }, integer(node.jobs_day))],
  },
  {
    sort: "tokens",
    label: "Tokens/s",
    numeric: true,
    cell: (node) => [
      node.tokens_per_sec === null ? unknown() : el("span", { class: "num" }, integer(node.tokens_per_sec)),
    ],
  },
  {
    sort: "source",
    label: "Source",
    title: "The tracker that the reading is from",
    cell: (node) => [text(node.source)],
  },
  { sort: "age", label: "As of", title: "When that tracker saw the node", cell: updated },
];

/** Columns whose first click sorts the largest first. */
export const descendingFirst = (/** @type {Column} */ column) => column.numeric === true;

/** @type {WeakMap<HTMLTableRowElement, string>} */
const drawn = new WeakMap();

/**
 * A row, kept by the node's identifier.
 * @param {FleetNode} node
 * @returns {HTMLTableRowElement}
 */
export function createRow(node) {
  const row = el("tr", { role: "row", "data-testid": "node-row", "data-id": node.identifier });
  for (const column of COLUMNS) {
    const first = column.sort === "identifier";
    row.append(
      el(first ? "th" : "td", {
        role: first ? "rowheader" : "cell",
        scope: first ? "row" : null,
        class: `c-${column.sort}${column.numeric ? " n" : ""}`,
        "data-label": column.label,
      }),
    );
  }
  updateRow(row, node);
  return row;
}

/**
 * Redraws what differs. The cell of the identity stays as long as it can: the focus may be in it.
 * @param {HTMLTableRowElement} row
 * @param {FleetNode} node
 */
export function updateRow(row, node) {
  const { age_seconds: _, ...lasting } = node;
  const text = JSON.stringify(lasting);
  const before = drawn.get(row);
  if (before === text) return;
  const old = before === undefined ? null : JSON.parse(before);
  COLUMNS.forEach((column, at) => {
    if (at === 0 && old && old.display_name === node.display_name) return;
    row.cells[at].replaceChildren(...column.cell(node));
  });
  row.classList.toggle("is-stale", node.stale);
  if (old && old.status !== node.status) flash(row);
  drawn.set(row, text);
}

/** @param {HTMLElement} row */
function flash(row) {
  row.classList.remove("flash");
  void row.offsetWidth; // begins the animation anew
  row.classList.add("flash");
}
