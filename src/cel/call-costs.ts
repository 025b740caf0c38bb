import type { Overload } from "./declarations.ts";
import { add, exactly, multiply, REGEX, scaled, times, TRAVERSAL, union } from "./sizes.ts";
import type { Size } from "./sizes.ts";
import { formatType } from "./types.ts";
import type { CelType } from "./types.ts";

/** An argument of a call, its receiver first. */
export interface Argument {
  readonly type: CelType;
  readonly size: Size;
  /** What is known of the items of a list. */
  readonly itemSize: Size;
  /** Of a whole number that is written out. */
  readonly literal?: bigint;
}

/** What a call costs at most, its arguments' own costs left out, and how large its result is. */
export interface CallCost {
  readonly cost: number;
  readonly result?: Size;
}

type Estimate = (args: readonly Argument[], overload: Overload) => CallCost;

const once: Estimate = () => ({ cost: 1 });
const one = exactly(1);
const traversed = (size: Size, factor = 1): number => scaled(size, factor * TRAVERSAL);
const parse: Estimate = ([text]) => ({ cost: traversed(text!.size) });
const sameSize: Estimate = ([text]) => ({ cost: traversed(text!.size), result: text!.size });

/** An authorization check: two of them fit into one expression. */
const CHECK = 350_000;
/** The longest expression of a named format. */
const FORMAT_REGEX = 128;

const regex = (text: Size, pattern: Size): number => times(scaled(add(text, one), TRAVERSAL), scaled(pattern, REGEX));

const eachItem: Estimate = ([list]) => {
  const item = list!.type.params[0];
  if (item === undefined) return { cost: traversed(list!.size) };
  const isText = item.name === "string" || item.name === "bytes";
  return { cost: times(list!.size.max, 1 + (isText ? traversed(list!.itemSize) : 0)) };
};

const selector: Estimate = ([, text]) => ({
  cost: 10 + traversed(text!.size) + Math.ceil(scaled(text!.size, 0.5) * 50),
});

/** Comparing addresses of 4 to 16 bytes, and reading the other one where it is a text. */
const addresses =
  (base: number): Estimate =>
  ([, other]) => ({ cost: base + (other!.type.name === "string" ? traversed(other!.size) : 0) });

const replaced: Estimate = ([text, from, to]) => {
  const [size, old, fresh] = [text!.size, from!.size, to!.size];
  const grows = fresh.max > old.min;
  const most =
    old.min === 0
      ? add(multiply(exactly(size.max + 1), exactly(fresh.max)), exactly(size.max)).max
      : grows
        ? times(Math.ceil(size.max / old.min), fresh.max)
        : size.max;
  return { cost: traversed(size, 2), result: { min: 0, max: most } };
};

const split: Estimate = ([text, , limit]) => ({
  cost: traversed(text!.size, 2),
  result: { min: 0, max: limit?.literal === undefined ? text!.size.max : Number(limit.literal) },
});

const joined: Estimate = ([list, separator]) => {
  const gaps = exactly(Math.max(list!.size.max - 1, 0));
  const text = multiply(list!.size, list!.itemSize);
  const result = separator === undefined ? text : add(text, multiply(separator.size, gaps));
  return { cost: traversed(result), result };
};

const compared: Estimate = ([a, b], { text }) => {
  const byReference = /^(net\.|kubernetes\.)/.test(a!.type.name);
  if (byReference && formatType(a!.type) === formatType(b!.type)) return { cost: 1 };
  if (/^_[<>]=?_/.test(text) && !/string|bytes/.test(text)) return { cost: 1 };
  return { cost: Math.ceil(times(Math.min(a!.size.max, b!.size.max), TRAVERSAL)) };
};

const concatenated: Estimate = ([a, b], { text }) => {
  if (!/string|bytes|list/.test(text)) return { cost: 1 };
  const result = add(a!.size, b!.size);
  return { cost: text.includes("list") ? 1 : traversed(result), result };
};

const nominal = [
  ..."serviceAccount path group resource subresource namespace name allowed reason error errored".split(" "),
  ..."masked prefixLength family isUnspecified isLoopback isLinkLocalMulticast isLinkLocalUnicast isGlobalUnicast".split(
    " ",
  ),
  ..."sign asInteger isInteger asApproximateFloat isGreaterThan isLessThan compareTo add sub major minor patch".split(
    " ",
  ),
  ..."getScheme getHostname getHost getPort getEscapedPath getQuery format.named".split(" "),
];

/**
 * Costs of calls as Kubernetes' and cel-go's estimators give them; what is not here costs one. A rule that upstream takes must be taken here
 * and the other way round, so these numbers are upstream's (staging/src/k8s.io/apiserver/pkg/cel/library/cost.go, cel-go checker/cost.go).
 */
const estimates: Readonly<Record<string, Estimate>> = {
  ...Object.fromEntries(nominal.map((name) => [name, once])),
  check: () => ({ cost: CHECK }),
  fieldSelector: selector,
  labelSelector: selector,
  ...Object.fromEntries(["isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"].map((name) => [name, eachItem])),
  ...Object.fromEntries(["url", "lowerAscii", "upperAscii", "substring", "trim"].map((name) => [name, sameSize])),
  ...Object.fromEntries(
    ["cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"].map((name) => [name, parse]),
  ),
  ip: (args, overload) => (overload.isMember ? { cost: 1 } : parse(args, overload)),
  "ip.isCanonical": ([text]) => ({ cost: traversed(text!.size, 2) }),
  containsIP: addresses(Math.ceil(32 * TRAVERSAL)),
  containsCIDR: addresses(Math.ceil(32 * TRAVERSAL) + Math.ceil(16 * TRAVERSAL) + 1),
  validate: ([, text]) => ({ cost: Math.ceil(times(traversed(text!.size), FORMAT_REGEX * REGEX)) }),
  replace: replaced,
  split,
  join: joined,
  find: ([text, pattern]) => ({ cost: regex(text!.size, pattern!.size), result: { min: 0, max: text!.size.max } }),
  findAll: ([text, pattern]) => ({ cost: regex(text!.size, pattern!.size), result: { min: 0, max: text!.size.max } }),
  matches: ([text, pattern], { isMember }) => ({ cost: isMember ? regex(text!.size, pattern!.size) : 1 }),
  contains: ([text, part]) => ({ cost: times(traversed(text!.size), traversed(part!.size)) }),
  startsWith: ([, part]) => ({ cost: traversed(part!.size) }),
  endsWith: ([, part]) => ({ cost: traversed(part!.size) }),
  format: ([text]) => ({ cost: traversed(text!.size) }),
  "strings.quote": ([text]) => ({
    cost: traversed(text!.size),
    result: { min: text!.size.min + 2, max: text!.size.max * 2 + 2 },
  }),
  "@in": ([, list]) => ({ cost: list!.type.kind === "map" ? 1 : list!.size.max }),
  "_==_": compared,
  "_!=_": compared,
  "_<_": compared,
  "_<=_": compared,
  "_>_": compared,
  "_>=_": compared,
  "_+_": concatenated,
  "_?_:_": ([, yes, no]) => ({ cost: 0, result: union(yes!.size, no!.size) }),
  bytes: ([text], { text: form }) =>
    form.includes("string")
      ? { cost: traversed(text!.size), result: { min: text!.size.min, max: text!.size.max * 4 } }
      : { cost: 1 },
  string: ([given], { text }) => (text.includes("bytes") ? sameSize([given!], {} as Overload) : { cost: 1 }),
};

/** Of a form of a function. */
export function callCost(overload: Overload, args: readonly Argument[]): CallCost {
  return (estimates[overload.name] ?? once)(args, overload);
}
