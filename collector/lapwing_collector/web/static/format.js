// How numbers and times are written. All times are UTC.

const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** What can be seen of a text: what would steer it is written out. */
export const seen = (text) =>
  String(text).replace(UNSEEN, (found) => `\\x${found.charCodeAt(0).toString(16).padStart(2, "0")}`);

/** The least and the most of some numbers, of which there may be more than a call may have arguments. */
export const ends = (values) =>
  values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);

/** The end of the lowest bin that durations are counted in, as the page says it: those in it are shorter. */
const SHORTEST_MS = Number(document.documentElement.dataset.shortestMs);

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const scales = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

function significant(value, digits) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000) return plain.format(value);
  if (size < 1e-4) return value.toExponential(digits - 1);
  return String(Number(value.toPrecision(digits)));
}

function compact(value) {
  for (const [scale, letter] of scales) {
    if (Math.abs(value) >= scale) return significant(value / scale, 3) + letter;
  }
  return significant(value, 3);
}

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  for (; Math.abs(value) >= 1024 && place < 4; place++) value /= 1024;
  return `${significant(value, 3)} ${units[place]}`;
}

/** A number with its unit; `short` where there is little room, as along an axis. */
export function number(value, unit = "number", short = false) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (typeof value !== "number") return seen(value);
  switch (unit) {
    case "share": return `${significant(value * 100, short ? 3 : 4)} %`;
    case "ms": if (value === SHORTEST_MS && !short) return `≤ ${SHORTEST_MS} ms`;
      return Math.abs(value) >= 1000 ? `${significant(value / 1000, 3)} s` : `${significant(value, 3)} ms`;
    case "s": return `${significant(value, 3)} s`;
    case "bytes": return bytes(value);
    case "rate": return `${compact(value)}/s`;
    default:
      if (short) return compact(value);
      return Number.isInteger(value) ? plain.format(value) : significant(value, 5);
  }
}

const LENGTHS = [[86_400_000, "day"], [3_600_000, "hour"], [60_000, "minute"], [1000, "second"]];

/** What a count is of, where one is made every so many milliseconds: `hour`, `6 hours`. */
export function stretch(ms) {
  const [length, name] = LENGTHS.find(([of]) => ms % of === 0) ?? LENGTHS.at(-1);
  return ms === length ? name : `${significant(ms / length, 3)} ${name}s`;
}

const two = (value) => String(value).padStart(2, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** A time, from milliseconds since the epoch, as exact as `step` seconds need it. */
export function moment(ms, step = 60) {
  const at = new Date(ms);
  const day = `${at.getUTCFullYear()}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`;
  if (step >= 86400) return day;
  const time = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
  return step >= 60 ? `${day} ${time}` : `${day} ${time}:${two(at.getUTCSeconds())}`;
}

/** From one time to another; the day is told once where both are of one. */
export function between(from, to, step) {
  const first = moment(from, step);
  const last = moment(to, step);
  if (step >= 86400) return step === 86400 ? first : `${first} – ${last}`;
  return first.slice(0, 10) === last.slice(0, 10) ? `${first} – ${last.slice(11)} UTC` : `${first} – ${last} UTC`;
}

/** Labels along a time axis: the date where a day begins, else the hour. */
export function ticks(seconds, increment) {
  let shown = "";
  return seconds.map((second) => {
    const at = new Date(second * 1000);
    const day = `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]}`;
    const year = at.getUTCFullYear() === new Date().getUTCFullYear() ? "" : ` ${at.getUTCFullYear()}`;
    if (increment >= 86400) {
      const text = day + (shown ? "" : year);
      shown = day;
      return text;
    }
    const time = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}${increment < 60 ? `:${two(at.getUTCSeconds())}` : ""}`;
    const text = day === shown ? time : `${time}\n${day}${shown ? "" : year}`;
    shown = day;
    return text;
  });
}
