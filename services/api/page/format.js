/** Words and digits. Amounts stay decimal strings from end to end: no sum, no float. */

const MINUS = "−";
const integers = new Intl.NumberFormat("en");
const compacts = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const shortDays = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const weekdays = new Intl.DateTimeFormat("en-GB", {
  weekday: "short",
  day: "numeric",
  month: "short",
  year: "numeric",
  timeZone: "UTC",
});
const times = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium", timeZone: "UTC" });

/**
 * Splits a decimal string.
 * @param {string} amount
 * @returns {[negative: boolean, whole: string, fraction: string]}
 */
function parts(amount) {
  const negative = amount.startsWith("-");
  const [whole, fraction = ""] = (negative ? amount.slice(1) : amount).split(".");
  return [negative, whole || "0", fraction];
}

/** @param {string} whole */
const grouped = (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ",");

/**
 * All digits of an amount, grouped.
 * @param {string} amount
 */
export function exact(amount) {
  const [negative, whole, fraction] = parts(amount);
  return (negative ? MINUS : "") + grouped(whole) + (fraction ? `.${fraction}` : "");
}

/**
 * An amount to so many places, rounded half away from zero. What would round to zero without being zero says so.
 * @param {string} amount
 * @param {number} places
 */
export function rounded(amount, places) {
  const [negative, whole, fraction] = parts(amount);
  const kept = fraction.slice(0, places).padEnd(places, "0");
  let units = BigInt(whole + kept);
  if (fraction.length > places && fraction[places] >= "5") units += 1n;
  if (units === 0n) {
    if (!/[1-9]/.test(whole + fraction)) return places ? `0.${"0".repeat(places)}` : "0";
    return `${negative ? ">" + MINUS : "<"}${places ? "0." + "0".repeat(places - 1) : ""}1`;
  }
  const text = units.toString().padStart(places + 1, "0");
  const cut = text.length - places;
  return (negative ? MINUS : "") + grouped(text.slice(0, cut)) + (places ? `.${text.slice(cut)}` : "");
}

/**
 * Whole ngonka as GNK: the point moves by nine places.
 * @param {string} ngonka
 */
export function gnkOfNgonka(ngonka) {
  const [negative, whole] = parts(ngonka);
  const text = whole.padStart(10, "0");
  return `${negative ? "-" : ""}${text.slice(0, -9)}.${text.slice(-9)}`;
}

/**
 * Drops zeros that end a fraction: for weights and the like, not for money.
 * @param {string} amount
 */
export const trimmed = (amount) => exact(amount.includes(".") ? amount.replace(/\.?0+$/, "") : amount);

/** @param {number} value */
export const integer = (value) => integers.format(value);

/** @param {number} value */
export const compact = (value) => compacts.format(value);

/**
 * @param {number} value
 * @param {number} [places]
 */
export const percent = (value, places = 1) => `${value.toFixed(places).replace("-", MINUS)} %`;

/** @param {number} value */
export const signedPercent = (value) => (value > 0 ? "+" : "") + percent(value);

/** @param {number} count @param {string} one @param {string} [many] */
export const plural = (count, one, many = `${one}s`) => `${integer(count)} ${count === 1 ? one : many}`;

/** @param {string} date a date, YYYY-MM-DD */
const atMidnight = (date) => new Date(`${date}T00:00:00Z`);

/** @param {string} date */
export const day = (date) => days.format(atMidnight(date));

/** @param {string} date */
export const shortDay = (date) => shortDays.format(atMidnight(date));

/**
 * A date with its year where that is not the present one.
 * @param {string} date
 */
export const dated = (date) => (Number(date.slice(0, 4)) === new Date().getUTCFullYear() ? shortDay : day)(date);

/** @param {string} since @param {string} until */
export const range = (since, until) => (since === until ? dated(until) : `${dated(since)} – ${dated(until)}`);

/** @param {string} date */
export const weekday = (date) => weekdays.format(atMidnight(date));

/** @param {string} moment */
export const time = (moment) => `${times.format(new Date(moment))} UTC`;

/**
 * How long ago.
 * @param {number} seconds
 */
export function ago(seconds) {
  if (seconds < 5) return "just now";
  return `${duration(seconds)} ago`;
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 2 * 86400) {
    const minutes = Math.floor((seconds % 3600) / 60);
    return seconds < 6 * 3600 && minutes
      ? `${Math.floor(seconds / 3600)} h ${minutes} min`
      : `${Math.floor(seconds / 3600)} h`;
  }
  return `${Math.floor(seconds / 86400)} days`;
}

/**
 * An identifier short enough for a column: both ends of the address, and the whole id of an ML node if it fits.
 * @param {string} identifier
 */
export function shortId(identifier) {
  const slash = identifier.indexOf("/");
  const address = slash < 0 ? identifier : identifier.slice(0, slash);
  const rest = slash < 0 ? "" : identifier.slice(slash);
  const letters = [...address];
  const short = letters.length > 20 ? `${letters.slice(0, 10).join("")}…${letters.slice(-6).join("")}` : address;
  const tail = [...rest];
  return short + (tail.length > 13 ? `${tail.slice(0, 12).join("")}…` : rest);
}

/** Names of identifier types. @type {Record<string, string>} */
export const TYPE_NAMES = { wallet: "wallet", node_id: "ML node", operator: "operator", validator: "validator" };
