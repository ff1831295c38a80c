/** Time zones to group days by. */

import { el } from "./dom.js";
import { now } from "./clock.js";

/** The zone of the person's machine. */
export const HERE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

/** @param {string | null} zone */
export function known(zone) {
  try {
    return zone && new Intl.DateTimeFormat("en", { timeZone: zone }) ? zone : "UTC";
  } catch {
    return "UTC";
  }
}

/**
 * The date that it is in a zone, so many days from today.
 * @param {string} zone
 * @param {number} [shift]
 */
export function dateIn(zone, shift = 0) {
  const today = new Intl.DateTimeFormat("en-CA", {
    timeZone: zone,
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
  }).format(new Date(now()));
  return new Date(Date.parse(`${today}T00:00:00Z`) + shift * 86_400_000).toISOString().slice(0, 10);
}

/** All dates from one to another. @param {string} since @param {string} until */
export function datesBetween(since, until) {
  const dates = [];
  for (let at = Date.parse(since); at <= Date.parse(until); at += 86_400_000)
    dates.push(new Date(at).toISOString().slice(0, 10));
  return dates;
}

/**
 * A choice of zones; the long list is only made when it is wanted.
 * @param {string} chosen
 * @param {(zone: string) => void} choose
 */
export function zoneSelect(chosen, choose) {
  const select = el("select", { "aria-label": "Time zone of the days", "data-testid": "time-zone" });
  const near = new Set(["UTC", HERE, chosen]);
  for (const zone of near)
    select.append(el("option", { value: zone }, zone === HERE && zone !== "UTC" ? `${zone} (yours)` : zone));
  const rest = el("optgroup", { label: "All zones" });
  const fill = () => {
    if (rest.parentNode) return;
    rest.append(
      ...Intl.supportedValuesOf("timeZone")
        .filter((zone) => !near.has(zone))
        .map((zone) => el("option", { value: zone }, zone)),
    );
    select.append(rest);
  };
  select.value = chosen;
  select.addEventListener("pointerdown", fill, { once: true });
  select.addEventListener("focus", fill, { once: true });
  select.addEventListener("change", () => choose(select.value));
  return select;
}
