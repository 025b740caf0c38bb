/** Whether a CronJob's schedule can be read, in the sentences of robfig/cron's parser. Undefined: fine. */
const fields = [
  { name: "minute", low: 0, high: 59 },
  { name: "hour", low: 0, high: 23 },
  { name: "day of month", low: 1, high: 31 },
  {
    name: "month",
    low: 1,
    high: 12,
    names: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
  },
  { name: "day of week", low: 0, high: 6, names: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];
const descriptors = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

export function checkSchedule(schedule: string): string | undefined {
  if (schedule.startsWith("@")) {
    if (descriptors.includes(schedule) || /^@every \d/.test(schedule)) return undefined;
    return `unrecognized descriptor: ${schedule}`;
  }
  const parts = schedule.trim().split(/\s+/);
  if (parts.length !== fields.length) return `expected exactly 5 fields, found ${parts.length}: [${parts.join(" ")}]`;
  for (const [index, part] of parts.entries()) {
    const problem = part
      .split(",")
      .map((range) => checkRange(range, fields[index]!))
      .find((found) => found !== undefined);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function checkRange(range: string, { low, high, names = [] }: (typeof fields)[number]): string | undefined {
  const [span = "", step, ...tooManySteps] = range.split("/");
  if (tooManySteps.length > 0) return `too many slashes: ${range}`;
  if (step !== undefined && !/^\d+$/.test(step))
    return `failed to parse int from ${step}: strconv.Atoi: parsing ${JSON.stringify(step)}: invalid syntax`;
  if (step === "0") return `step of range should be a positive number: ${range}`;
  if (span === "*" || span === "?") return undefined;
  const ends = span.split("-");
  if (ends.length > 2) return `too many hyphens: ${range}`;
  const numbers: number[] = [];
  for (const end of ends) {
    const named = names.indexOf(end.toLowerCase());
    if (named < 0 && !/^\d+$/.test(end))
      return `failed to parse int from ${end}: strconv.Atoi: parsing ${JSON.stringify(end)}: invalid syntax`;
    numbers.push(named < 0 ? Number(end) : named + low);
  }
  const [first = 0, last = first] = numbers;
  if (first < low) return `beginning of range (${first}) below minimum (${low}): ${range}`;
  if (last > high) return `end of range (${last}) above maximum (${high}): ${range}`;
  return first > last ? `beginning of range (${first}) beyond end of range (${last}): ${range}` : undefined;
}
