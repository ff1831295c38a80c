/** The shell: which view is shown, the connection, the key, the theme. */

import { announce } from "./announce.js";
import { api, key, setKey } from "./api.js";
import { everySecond, now } from "./clock.js";
import { el, put, setText } from "./dom.js";
import { fleetView } from "./fleet.js";
import { ago } from "./format.js";
import { keyForm } from "./key.js";
import { Live } from "./live.js";
import { nodeView } from "./node.js";
import { parse } from "./router.js";
import { sourcesView } from "./sources.js";
import { shape } from "./status.js";
import { bindThemeToggle } from "./theme.js";

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const main = byId("main");
const forever = new AbortController().signal;
const live = new Live();
/** @type {import("./types.js").View | null} */
let view = null;
/** @type {Record<string, import("./types.js").View>} */
const kept = {};
/** @type {Record<string, number>} how far views that are kept were scrolled */
const scrolled = {};
let shown = "";
let locked = false;
let reachable = true;
let newest = now();

function missing() {
  const root = el(
    "div",
    { class: "panel empty", "data-testid": "missing" },
    el("h1", { tabindex: "-1" }, "Nothing here"),
    el("p", null, "This address leads nowhere."),
    el("a", { class: "button", href: "#/" }, "To the fleet"),
  );
  return { root, title: "Nothing here", enter() {}, event() {}, reload() {} };
}

/** @param {string} title */
const setTitle = (title) => (document.title = `${title} · MineGNK`);

function go() {
  const route = parse(location.hash);
  const place = route.view === "node" ? `node ${route.id}` : route.view;
  const moved = place !== shown;
  if (moved) {
    if (view && shown in kept) scrolled[shown] = scrollY;
    view?.leave?.();
    if (route.view === "fleet") view = kept.fleet ??= fleetView(forever);
    else if (route.view === "sources") view = kept.sources ??= sourcesView(forever);
    else view = route.view === "node" ? nodeView(route, setTitle) : missing();
    for (const link of document.querySelectorAll("[data-view]")) {
      if (link.getAttribute("data-view") === route.view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }
  const first = shown === "";
  shown = place;
  if (!view) return;
  if (moved) setTitle(view.title);
  if (!locked) {
    if (moved) put(main, view.root);
    live.start(route.view === "node" ? route.id : "");
  }
  if (moved && !first) {
    scrollTo({ top: scrolled[place] ?? 0, behavior: "instant" });
    /** @type {HTMLElement | null} */ (main.querySelector("h1"))?.focus({ preventScroll: true });
  }
  if (!locked) view.enter(route);
}

function lock() {
  const again = locked || key() !== null;
  if (locked && main.querySelector("[data-testid=key-form]")) return;
  locked = true;
  live.stop();
  setKey(null);
  byId("forget-key").hidden = true;
  put(
    main,
    keyForm(again, (value) => {
      setKey(value);
      locked = false;
      byId("forget-key").hidden = false;
      shown = "";
      go();
      view?.reload();
    }),
  );
  main.querySelector("input")?.focus();
  showConnection();
}

/** Shapes of the connection's states, borrowed from those of sources. */
const SHAPES = { connecting: "unknown", live: "ok", reconnecting: "stale", offline: "failing", locked: "silent" };

function showConnection() {
  const node = byId("live");
  const state = locked ? "locked" : reachable ? live.state : "offline";
  if (node.dataset.shown !== state) {
    node.dataset.shown = node.dataset.state = state;
    put(node, shape(SHAPES[state]), el("span", null, state));
  }
  const notice = byId("notice");
  if (state === "offline") {
    const since = ago(Math.max(0, (now() - newest) / 1000));
    if (notice.hidden) put(notice, el("strong"), el("span"));
    notice.hidden = false;
    setText(notice.children[0], reachable ? "No live changes." : "Offline.");
    setText(
      notice.children[1],
      `Showing data as of ${since}; ${reachable ? "read again every few seconds" : "trying to reach the API again"}.`,
    );
  } else notice.hidden = true;
}

api.addEventListener("reachable", () => {
  if (!reachable) live.hurry();
  reachable = true;
  newest = now();
  showConnection();
});
api.addEventListener("unreachable", () => {
  reachable = false;
  showConnection();
});
api.addEventListener("locked", lock);
live.addEventListener("state", () => {
  if (live.state === "live") newest = now();
  if (live.state === "offline" && !locked) view?.reload(); // tells whether anything can be reached
  showConnection();
});
live.addEventListener("again", () => {
  reachable = true;
  view?.reload();
  announce("Connected again.");
});
live.addEventListener("change", (event) => {
  newest = now();
  const { type, data } = /** @type {CustomEvent} */ (event).detail;
  if (type === "reset") view?.reload();
  else view?.event(type, data);
});
let seconds = 0;
everySecond(() => {
  if (live.state === "live" && reachable) newest = now();
  showConnection();
  seconds += 1;
  if (!locked && (!reachable || live.state === "offline") && seconds % 5 === 0) view?.reload();
});

byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
byId("forget-key").addEventListener("click", () => {
  setKey(null);
  location.reload();
});
byId("forget-key").hidden = key() === null;
history.scrollRestoration = "manual";
addEventListener("hashchange", go);
bindThemeToggle(byId("theme"));
showConnection();
go();
