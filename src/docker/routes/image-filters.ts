import path from "node:path";
import { invalidArgument, parseDurationMs, type Clock } from "../../base/index.ts";
import { parseReference, type Image, type ImageService } from "../../engine/index.ts";
import type { Filters } from "../query.ts";

export const LIST_FILTERS = ["before", "dangling", "label", "reference", "since", "until"];
export const PRUNE_FILTERS = ["dangling", "until", "label", "label!"];

/** The filters of `docker images`. All must hold; values of one are alternatives, except labels, which must all hold. */
export async function listFilter(
  filters: Filters,
  images: ImageService,
  clock: Clock,
): Promise<(image: Image) => boolean> {
  const tests: ((image: Image) => boolean)[] = [];
  const dangling = flag(filters, "dangling");
  if (dangling !== undefined) tests.push((image) => (image.repoTags.length === 0) === dangling);
  for (const name of filters.get("before") ?? []) {
    const { createdMs } = await images.resolve(name);
    tests.push((image) => image.createdMs < createdMs);
  }
  for (const name of filters.get("since") ?? []) {
    const { createdMs } = await images.resolve(name);
    tests.push((image) => image.createdMs > createdMs);
  }
  const untilMs = until(filters, clock);
  if (untilMs !== undefined) tests.push((image) => image.createdMs < untilMs);
  for (const label of filters.get("label") ?? []) tests.push((image) => hasLabel(image, label));
  const patterns = filters.get("reference") ?? [];
  if (patterns.length > 0) tests.push((image) => patterns.some((pattern) => matchesReference(image, pattern)));
  return (image) => tests.every((holds) => holds(image));
}

export function labelFilter(filters: Filters): (image: Image) => boolean {
  const wanted = filters.get("label") ?? [];
  const unwanted = filters.get("label!") ?? [];
  return (image) =>
    wanted.every((label) => hasLabel(image, label)) && !unwanted.some((label) => hasLabel(image, label));
}

export function flag(filters: Filters, name: string): boolean | undefined {
  const value = filters.get(name)?.[0]?.toLowerCase();
  if (value === undefined) return undefined;
  if (["1", "t", "true"].includes(value)) return true;
  if (["0", "f", "false"].includes(value)) return false;
  throw invalidArgument(`invalid filter '${name}=[${value}]': true or false is expected`);
}

/** `until`: Unix seconds, a date, or a duration before now. Milliseconds since the epoch. */
export function until(filters: Filters, clock: Clock): number | undefined {
  const values = filters.get("until") ?? [];
  if (values.length > 1) throw invalidArgument("more than one until filter specified");
  const text = values[0];
  if (text === undefined) return undefined;
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  const duration = parseDurationMs(text);
  if (duration !== undefined) return clock.nowMs() - duration;
  const date = Date.parse(text);
  if (Number.isNaN(date)) throw invalidArgument(`invalid until filter: "${text}" is no time`);
  return date;
}

function hasLabel(image: Image, label: string): boolean {
  const labels = image.config.config?.Labels ?? {};
  const equals = label.indexOf("=");
  return equals < 0 ? label in labels : labels[label.slice(0, equals)] === label.slice(equals + 1);
}

/** Shell patterns over `name`, `name:tag` and their full forms; `*` stops at slashes. */
function matchesReference(image: Image, pattern: string): boolean {
  return [...image.repoTags, ...image.repoDigests].some((name) => {
    const reference = parseReference(name);
    const bare = name.replace(/@.*$/, "").replace(/:[^:/]*$/, "");
    const full = `${reference.domain}/${reference.path}`;
    return [name, bare, full, `${full}:${reference.tag}`].some(
      (form) => form === pattern || path.matchesGlob(form, pattern),
    );
  });
}
