/** Asking the API. */

import { noteServerTime } from "./clock.js";

const BASE = "/api/v1";
const KEY = "minegnk.key";

/** Tells `reachable` and `unreachable` (of the API), and `locked` when it demands a key. */
export const api = new EventTarget();

/** What the API says went wrong. */
export class ProblemError extends Error {
  /** @param {number} status @param {{title?: string, detail?: string, code?: string}} problem */
  constructor(status, problem) {
    super(problem.detail || problem.title || `The API answered with status ${status}.`);
    this.status = status;
    this.code = problem.code ?? "";
  }
}

/** No answer at all, or one from something in between. */
export class UnreachableError extends Error {}

/** @type {string | null} */
let remembered = null;

/** @returns {string | null} the API key in use */
export function key() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return remembered;
  }
}

/** @param {string | null} value null forgets it */
export function setKey(value) {
  remembered = value;
  try {
    if (value === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, value);
  } catch {
    // Storage is blocked: it lasts as long as the page.
  }
}

/** @returns {Record<string, string>} */
export function authorization() {
  const value = key();
  return value === null ? {} : { Authorization: `Bearer ${value}` };
}

/**
 * @param {string} path below /api/v1
 * @param {Record<string, string | number | boolean | string[] | null | undefined>} [params] null and empty are left out
 */
export function url(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) query.append(name, String(one));
  }
  const text = query.toString();
  return BASE + path + (text ? `?${text}` : "");
}

/** @param {string} identifier */
export const nodePath = (identifier) => `/nodes/${encodeURIComponent(identifier)}`;

/** @param {string} address @param {AbortSignal} [signal] */
async function ask(address, signal) {
  const used = key();
  let response;
  try {
    // A change that was told must not be answered with what the browser kept: it asks whether that is still the same.
    response = await fetch(address, { headers: authorization(), signal, cache: "no-cache" });
  } catch (error) {
    if (signal?.aborted) throw error;
    api.dispatchEvent(new Event("unreachable"));
    throw new UnreachableError("The API cannot be reached.");
  }
  if (response.ok) {
    api.dispatchEvent(new Event("reachable"));
    return response;
  }
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401 && used === key()) api.dispatchEvent(new Event("locked"));
  if (response.status === 502 || response.status === 503 || response.status === 504) {
    api.dispatchEvent(new Event("unreachable"));
    throw new UnreachableError(problem.detail || "The API is not available at the moment.");
  }
  throw new ProblemError(response.status, problem);
}

/**
 * Reads JSON.
 * @param {string} path
 * @param {Parameters<typeof url>[1]} [params]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function get(path, params, signal) {
  const response = await ask(url(path, params), signal);
  let answer;
  try {
    answer = await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new UnreachableError("The API's answer broke off.");
  }
  if (answer.as_of) noteServerTime(answer.as_of);
  return answer;
}

/**
 * Saves an answer as a file. Only needed with a key: a link cannot send it.
 * @param {string} address
 * @param {string} name
 */
export async function save(address, name) {
  const blob = await (await ask(address)).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @param {unknown} error @returns {boolean} whether it only says that the asking was given up */
export const isAbort = (error) => error instanceof DOMException && error.name === "AbortError";
