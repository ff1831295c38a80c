/** One node. */

import { announceStatus } from "./announce.js";
import { get, isAbort, nodePath, ProblemError } from "./api.js";
import { nameOf } from "./columns.js";
import { el, put } from "./dom.js";
import { NodeDays } from "./node-days.js";
import { NodeEpochs } from "./node-epochs.js";
import { NodeHead, windowsTable } from "./node-head.js";
import { NodeTimeline } from "./node-timeline.js";
import { atMostEvery } from "./pace.js";
import { failure } from "./parts.js";

const READ_AGAIN_MS = 5000;
const TIMELINE_MS = 30_000;

/**
 * @param {import("./router.js").Route} route
 * @param {(title: string) => void} setTitle
 * @returns {import("./types.js").View}
 */
export function nodeView(route, setTitle) {
  const identifier = route.id;
  const ending = new AbortController();
  const { signal } = ending;
  const head = new NodeHead(identifier);
  const windows = el(
    "section",
    { class: "panel", "aria-labelledby": "windows-title", "data-testid": "windows" },
    el("div", { class: "panel-head" }, el("h2", { id: "windows-title" }, "Earnings by window")),
  );
  const windowsBody = el("div", { class: "windows-body" }, el("div", { class: "skeleton" }));
  windows.append(windowsBody);
  const days = new NodeDays(identifier, route.query, signal);
  const timeline = new NodeTimeline(identifier, signal);
  const epochs = new NodeEpochs(identifier, signal);
  const root = el(
    "div",
    { class: "node", "data-testid": "view-node" },
    head.root,
    windows,
    days.root,
    timeline.root,
    epochs.root,
  );
  /** @type {import("./types.js").NodeDetail | null} */
  let detail = null;

  function draw() {
    if (!detail) return;
    setTitle(nameOf(detail));
    head.show(detail);
    put(windowsBody, windowsTable(detail.windows));
    timeline.showUptime(detail.uptime);
  }

  async function readDetail() {
    try {
      detail = await get(nodePath(identifier), {}, signal);
      draw();
    } catch (error) {
      if (isAbort(error) || detail) return;
      if (error instanceof ProblemError && error.status === 404) {
        put(
          root,
          el(
            "div",
            { class: "panel empty", "data-testid": "no-node" },
            el("h1", { tabindex: "-1" }, "No such node"),
            el("p", null, "No source has ever told of ", el("bdi", { class: "mono" }, identifier), "."),
            el("a", { class: "button", href: "#/" }, "To the fleet"),
          ),
        );
        ending.abort();
      } else put(windowsBody, failure(error, readAgain));
    }
  }

  const readAgain = atMostEvery(readDetail, READ_AGAIN_MS, signal);
  const readEarnings = atMostEvery(() => (days.read(), epochs.readAgain()), READ_AGAIN_MS, signal);
  const readTimeline = atMostEvery(() => timeline.read(), TIMELINE_MS, signal);

  return {
    root,
    title: head.name,
    enter() {
      readAgain();
      readEarnings();
      readTimeline();
    },
    leave: () => ending.abort(),
    event(type, data) {
      if (type === "status" && data.identifier === identifier && detail) {
        detail = {
          ...detail,
          status: data.to,
          fetched_at: data.at ?? detail.fetched_at,
          source: data.source ?? detail.source,
          stale: false,
        };
        draw();
        announceStatus(identifier, nameOf(detail), data.to ?? "unknown");
      }
      if (type === "reading" && data.identifier === identifier) {
        readAgain();
        readTimeline();
      }
      if (type === "earnings" || type === "settlement") {
        readAgain();
        readEarnings();
      }
    },
    reload() {
      readAgain();
      readEarnings();
      readTimeline();
    },
  };
}
