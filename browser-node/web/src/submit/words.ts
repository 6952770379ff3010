// Formats numbers for people.

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const UNITS = ["KB", "MB", "GB", "TB"];

export function count(of: number, one: string, many = `${one}s`): string {
  return `${number.format(of)} ${of === 1 ? one : many}`;
}

export function whole(of: number): string {
  return number.format(of);
}

/** In decimal units, as disks are sold. */
export function bytes(of: number): string {
  if (of < 1000) return count(of, "byte");
  let rest = of / 1000;
  let unit = 0;
  while (rest >= 999.5 && unit < UNITS.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  return `${short.format(rest)} ${UNITS[unit]}`;
}

export function rate(of: number): string {
  return short.format(of);
}

export function seconds(of: number): string {
  if (of < 9.95) return `${Math.max(0, of).toFixed(1)} s`;
  if (of < 99.5) return `${Math.round(of)} s`;
  const minutes = Math.round(of / 60);
  return minutes < 100 ? `${minutes} min` : `${short.format(of / 3600)} h`;
}

const today = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
const before = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

/** A point in time; only the time of day if it was today. */
export function moment(millis: number, now = Date.now()): string {
  const same = new Date(millis).toDateString() === new Date(now).toDateString();
  return (same ? today : before).format(millis);
}

/** An estimate of the remaining time, without false precision. */
export function left(of: number): string {
  return of < 10 ? `${Math.max(1, Math.ceil(of))} s` : seconds(of);
}
