/** Where in the page one is: the part of the address after #. */

/** @typedef {{view: "fleet" | "node" | "sources" | "missing", id: string, query: URLSearchParams}} Route */

/**
 * @param {string} hash
 * @returns {Route}
 */
export function parse(hash) {
  const text = hash.replace(/^#/, "") || "/";
  const mark = text.indexOf("?");
  const path = mark < 0 ? text : text.slice(0, mark);
  const query = new URLSearchParams(mark < 0 ? "" : text.slice(mark + 1));
  if (path === "/") return { view: "fleet", id: "", query };
  if (path === "/sources") return { view: "sources", id: "", query };
  if (path.startsWith("/nodes/") && path.length > 7) {
    try {
      return { view: "node", id: decodeURIComponent(path.slice(7)), query };
    } catch {
      // A stray % in the address.
    }
  }
  return { view: "missing", id: "", query };
}

/** @param {string} id */
export const nodeHref = (id) => `#/nodes/${encodeURIComponent(id)}`;

/** @param {URLSearchParams} query */
export const fleetHref = (query) => `#/${query.size ? `?${query}` : ""}`;

/**
 * Changes the address without leaving the view.
 * @param {string} hash
 */
export const replaceHash = (hash) => history.replaceState(history.state, "", hash);

/**
 * Changes the address within the view, as a step that the back button undoes.
 * @param {string} hash
 */
export function stepTo(hash) {
  if (hash !== (location.hash || "#/")) history.pushState(null, "", hash);
}

let fleet = "#/";

/** Notes where the fleet is, with its filters, for the way back to it. @param {string} hash */
export const noteFleet = (hash) => (fleet = hash);

/** The address of the fleet as it was seen last. */
export const lastFleet = () => fleet;

/**
 * Sets a word of the address's query; an empty one is left out.
 * @param {string} name
 * @param {string} value
 */
export function rememberInHash(name, value) {
  const [path, text = ""] = (location.hash || "#/").split("?");
  const query = new URLSearchParams(text);
  if (value) query.set(name, value);
  else query.delete(name);
  replaceHash(path + (query.size ? `?${query}` : ""));
}
