import assert from "node:assert/strict";
import { test } from "node:test";
import { missedSince, parseSchedule } from "./schedule.ts";

const at = (text: string) => Date.parse(text);
test("the next time of a schedule, in its time zone", () => {
  const rows: [schedule: string, after: string, next: string, zone?: string][] = [
    ["*/15 * * * *", "2026-03-01T10:07:00Z", "2026-03-01T10:15:00Z"],
    ["0 0 1 * *", "2026-01-31T23:59:00Z", "2026-02-01T00:00:00Z"],
    ["30 9 * * mon-fri", "2026-11-20T10:00:00Z", "2026-11-23T09:30:00Z"],
    ["0 12 29 2 *", "2026-03-01T00:00:00Z", "2028-02-29T12:00:00Z"],
    ["0 0 13 * fri", "2026-11-10T00:00:00Z", "2026-11-13T00:00:00Z"],
    ["@hourly", "2026-03-01T10:07:00Z", "2026-03-01T11:00:00Z"],
    ["@every 90m", "2026-03-01T10:00:00Z", "2026-03-01T11:30:00Z"],
    ["0 9 * * *", "2026-07-01T00:00:00Z", "2026-07-01T07:00:00Z", "Europe/Berlin"],
    ["0 9 * * *", "2026-01-01T00:00:00Z", "2026-01-01T08:00:00Z", "Europe/Berlin"],
  ];
  for (const [schedule, after, next, zone] of rows) {
    assert.equal(
      new Date(parseSchedule(schedule, zone).next(at(after))!).toISOString(),
      new Date(at(next)).toISOString(),
      schedule,
    );
  }
});

test("bad schedules are refused", () => {
  for (const text of ["", "* * * *", "60 * * * *", "* * * * * *", "5-1 * * * *", "*/0 * * * *"])
    assert.throws(() => parseSchedule(text));
  assert.throws(() => parseSchedule("* * * * *", "Mars/Olympus"));
});

test("what was missed while nobody looked", () => {
  const hourly = parseSchedule("@hourly");
  const missed = missedSince(hourly, at("2026-03-01T10:30:00Z"), at("2026-03-01T13:10:00Z"));
  assert.deepEqual(missed, { latestMs: at("2026-03-01T13:00:00Z"), count: 3 });
  const often = missedSince(parseSchedule("* * * * *"), at("2026-03-01T00:00:00Z"), at("2026-03-02T00:00:30Z"));
  assert.equal(often.latestMs, at("2026-03-02T00:00:00Z"));
});
