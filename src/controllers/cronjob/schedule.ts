import { invalidArgument } from "../../base/index.ts";

/** A cron schedule: minute, hour, day of month, month, day of week; or @hourly and so on, or @every 90m. */
export interface Schedule {
  /** The first time after `afterMs`, in milliseconds; undefined when there is none within five years. */
  next(afterMs: number): number | undefined;
}

const MACROS: Readonly<Record<string, string>> = {
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
  "@monthly": "0 0 1 * *",
  "@weekly": "0 0 * * 0",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@hourly": "0 * * * *",
};
const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const HORIZON_MS = 5 * 366 * 24 * HOUR_MS;

/** Throws invalidArgument. `timeZone` is an IANA name; UTC when left out. */
export function parseSchedule(text: string, timeZone = "UTC"): Schedule {
  const every = /^@every\s+((?:\d+(?:\.\d+)?(?:h|m|s))+)$/.exec(text.trim());
  if (every) return everySchedule(every[1]!);
  const fields = (MACROS[text.trim()] ?? text).trim().split(/\s+/);
  if (fields.length !== 5) throw invalidArgument(`expected exactly 5 fields, found ${fields.length}: ${text}`);
  const [minute, hour, day, month, weekday] = [
    parseField(fields[0]!, 0, 59),
    parseField(fields[1]!, 0, 23),
    parseField(fields[2]!, 1, 31),
    parseField(fields[3]!, 1, 12, MONTHS, 1),
    parseField(fields[4]!, 0, 7, DAYS, 0),
  ] as const;
  if (weekday.has(7)) weekday.add(0);
  const anyDay = fields[2] === "*" || fields[2] === "?";
  const anyWeekday = fields[4] === "*" || fields[4] === "?";
  const zone = zoneClock(timeZone);
  const dayMatches = (at: ZonedTime) => {
    const byDay = day.has(at.day);
    const byWeekday = weekday.has(at.weekday);
    // Both given: either is enough.
    return anyDay || anyWeekday ? byDay && byWeekday : byDay || byWeekday;
  };
  return {
    next(afterMs) {
      let ms = Math.floor(afterMs / MINUTE_MS) * MINUTE_MS + MINUTE_MS;
      const limitMs = ms + HORIZON_MS;
      while (ms < limitMs) {
        const at = zone(ms);
        // Steps never cross an hour at once, so a shift of the clocks is seen.
        const toNextHourMs = (60 - at.minute) * MINUTE_MS;
        if (!month.has(at.month) || !dayMatches(at))
          ms += at.hour < 22 ? toNextHourMs + (22 - at.hour) * HOUR_MS - HOUR_MS : toNextHourMs;
        else if (!hour.has(at.hour)) ms += toNextHourMs;
        else if (!minute.has(at.minute)) ms += MINUTE_MS;
        else return ms;
      }
      return undefined;
    },
  };
}

function everySchedule(duration: string): Schedule {
  const unitMs: Readonly<Record<string, number>> = { h: HOUR_MS, m: MINUTE_MS, s: 1000 };
  let periodMs = 0;
  for (const [, amount, unit] of duration.matchAll(/(\d+(?:\.\d+)?)(h|m|s)/g))
    periodMs += Number(amount) * unitMs[unit!]!;
  const wholeMs = Math.max(1000, Math.floor(periodMs / 1000) * 1000);
  return { next: (afterMs) => Math.floor(afterMs / 1000) * 1000 + wholeMs };
}

function parseField(text: string, low: number, high: number, names: readonly string[] = [], base = 0): Set<number> {
  const values = new Set<number>();
  const number = (word: string) => {
    const named = names.indexOf(word.toLowerCase());
    const value = named >= 0 ? named + base : Number(word);
    if (!Number.isInteger(value) || value < low || value > high)
      throw invalidArgument(`value out of range (${low} - ${high}): ${word}`);
    return value;
  };
  for (const part of text.split(",")) {
    const [range = "", step] = part.split("/");
    const every = step === undefined ? 1 : Number(step);
    if (!Number.isInteger(every) || every < 1) throw invalidArgument(`bad step in ${part}`);
    let [from, to] = [low, high];
    if (range !== "*" && range !== "?") {
      const [first = "", last] = range.split("-");
      from = number(first);
      to = last !== undefined ? number(last) : step === undefined ? from : high;
    }
    if (from > to) throw invalidArgument(`beginning of range (${from}) beyond end of range (${to}): ${part}`);
    for (let value = from; value <= to; value += every) values.add(value);
  }
  return values;
}

interface ZonedTime {
  readonly minute: number;
  readonly hour: number;
  readonly day: number;
  readonly month: number;
  readonly weekday: number;
}

function zoneClock(timeZone: string): (ms: number) => ZonedTime {
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat("en-US", {
      timeZone,
      hourCycle: "h23",
      weekday: "short",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
    });
  } catch (error) {
    throw invalidArgument(`unknown time zone ${timeZone}`, { cause: error });
  }
  return (ms) => {
    const parts = Object.fromEntries(format.formatToParts(ms).map(({ type, value }) => [type, value]));
    return {
      minute: Number(parts["minute"]),
      hour: Number(parts["hour"]),
      day: Number(parts["day"]),
      month: Number(parts["month"]),
      weekday: DAYS.indexOf(parts["weekday"]!.toLowerCase().slice(0, 3)),
    };
  };
}

export interface Missed {
  /** The latest time that should have started a job and has not. */
  readonly latestMs: number | undefined;
  readonly count: number;
}

/** More than these are not counted one by one (upstream warns at 100). */
const MAX_COUNTED = 100;

export function missedSince(schedule: Schedule, sinceMs: number, nowMs: number): Missed {
  let latestMs: number | undefined;
  let count = 0;
  for (let at = schedule.next(sinceMs); at !== undefined && at <= nowMs; at = schedule.next(at)) {
    latestMs = at;
    if (++count > MAX_COUNTED) {
      // Too far behind: jump to the last one before now by halving.
      const recent = lastBefore(schedule, at, nowMs);
      return { latestMs: recent ?? at, count };
    }
  }
  return { latestMs, count };
}

function lastBefore(schedule: Schedule, fromMs: number, nowMs: number): number | undefined {
  for (let backMs = MINUTE_MS; ; backMs *= 2) {
    const startMs = Math.max(fromMs, nowMs - backMs);
    let found: number | undefined;
    for (let at = schedule.next(startMs); at !== undefined && at <= nowMs; at = schedule.next(at)) found = at;
    if (found !== undefined || startMs === fromMs) return found;
  }
}
