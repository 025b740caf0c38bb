import { parseType, splitTypes } from "./types.ts";
import type { CelType } from "./types.ts";

/** One form of a function: `string.startsWith(string): bool` is called on its first argument. */
export interface Overload {
  readonly name: string;
  readonly isMember: boolean;
  /** With the receiver first. */
  readonly args: readonly CelType[];
  readonly result: CelType;
  /** The declaration itself: what the estimate of costs tells forms apart by. */
  readonly text: string;
}

const numbers = ["int", "uint", "double"];
const ordered = [...numbers, "bool", "string", "bytes", "timestamp", "duration"];
const compared = [
  ...ordered.map((type) => [type, type]),
  ...numbers.flatMap((a) => numbers.filter((b) => a !== b).map((b) => [a, b])),
];

/** Operators, by cel-go's names of them. */
const operators = [
  "_==_(A, A): bool",
  "_!=_(A, A): bool",
  "_&&_(bool, bool): bool",
  "_||_(bool, bool): bool",
  "!_(bool): bool",
  "_?_:_(bool, A, A): A",
  "-_(int): int",
  "-_(double): double",
  "@in(A, list(A)): bool",
  "@in(A, map(A, B)): bool",
  "_[_](list(A), int): A",
  "_[_](map(A, B), A): B",
  "_[_](optional(list(A)), int): optional(A)",
  "_[_](optional(map(A, B)), A): optional(B)",
  "_[?_](list(A), int): optional(A)",
  "_[?_](map(A, B), A): optional(B)",
  "_[?_](optional(list(A)), int): optional(A)",
  "_[?_](optional(map(A, B)), A): optional(B)",
  ...["_<_", "_<=_", "_>_", "_>=_"].flatMap((name) => compared.map(([a, b]) => `${name}(${a}, ${b}): bool`)),
  ...["_+_", "_-_", "_*_", "_/_"].flatMap((name) => numbers.map((type) => `${name}(${type}, ${type}): ${type}`)),
  "_%_(int, int): int",
  "_%_(uint, uint): uint",
  ...["string", "bytes", "list(A)"].map((type) => `_+_(${type}, ${type}): ${type}`),
  "_+_(duration, duration): duration",
  "_-_(duration, duration): duration",
  "_+_(timestamp, duration): timestamp",
  "_+_(duration, timestamp): timestamp",
  "_-_(timestamp, timestamp): duration",
  "_-_(timestamp, duration): timestamp",
];

const conversions = [
  ...["int", "uint", "double", "string", "timestamp", "duration"].map((from) => `int(${from}): int`),
  ...["int", "uint", "double", "string"].map((from) => `uint(${from}): uint`),
  ...["int", "uint", "double", "string"].map((from) => `double(${from}): double`),
  ...["int", "uint", "double", "string", "bytes", "bool", "timestamp", "duration"].map(
    (from) => `string(${from}): string`,
  ),
  "bytes(string): bytes",
  "bytes(bytes): bytes",
  "bool(string): bool",
  "bool(bool): bool",
  "timestamp(string): timestamp",
  "timestamp(int): timestamp",
  "timestamp(timestamp): timestamp",
  "duration(string): duration",
  "duration(int): duration",
  "duration(duration): duration",
  "dyn(A): dyn",
  "type(A): type(A)",
];

const standard = [
  ...["string", "bytes", "list(A)", "map(A, B)"].flatMap((type) => [`size(${type}): int`, `${type}.size(): int`]),
  "string.contains(string): bool",
  "string.startsWith(string): bool",
  "string.endsWith(string): bool",
  "string.matches(string): bool",
  "matches(string, string): bool",
  ...[
    "FullYear",
    "Month",
    "Date",
    "DayOfMonth",
    "DayOfWeek",
    "DayOfYear",
    "Hours",
    "Minutes",
    "Seconds",
    "Milliseconds",
  ]
    .map((part) => `get${part}`)
    .flatMap((name) => [`timestamp.${name}(): int`, `timestamp.${name}(string): int`]),
  ...["Hours", "Minutes", "Seconds", "Milliseconds"].map((part) => `duration.get${part}(): int`),
];

const strings = [
  "string.charAt(int): string",
  "string.format(list(dyn)): string",
  "string.indexOf(string): int",
  "string.indexOf(string, int): int",
  "list(string).join(): string",
  "list(string).join(string): string",
  "string.lastIndexOf(string): int",
  "string.lastIndexOf(string, int): int",
  "string.lowerAscii(): string",
  "string.upperAscii(): string",
  "string.replace(string, string): string",
  "string.replace(string, string, int): string",
  "string.split(string): list(string)",
  "string.split(string, int): list(string)",
  "string.substring(int): string",
  "string.substring(int, int): string",
  "string.trim(): string",
  "strings.quote(string): string",
];

const optionals = [
  "optional.of(A): optional(A)",
  "optional.ofNonZeroValue(A): optional(A)",
  "optional.none(): optional(A)",
  "optional(A).hasValue(): bool",
  "optional(A).value(): A",
  "optional(A).or(optional(A)): optional(A)",
  "optional(A).orValue(A): A",
];

const summed = ["int", "uint", "double", "duration"];
const sorted = [...ordered];
/** https://kubernetes.io/docs/reference/using-api/cel/#cel-options-language-features-and-libraries */
const kubernetes = [
  ...summed.map((type) => `list(${type}).sum(): ${type}`),
  ...sorted.flatMap((type) => [
    `list(${type}).isSorted(): bool`,
    `list(${type}).min(): ${type}`,
    `list(${type}).max(): ${type}`,
  ]),
  "list(A).indexOf(A): int",
  "list(A).lastIndexOf(A): int",
  "string.find(string): string",
  "string.findAll(string): list(string)",
  "string.findAll(string, int): list(string)",
  ...["contains", "equivalent", "intersects"].map((name) => `sets.${name}(list(A), list(A)): bool`),
  "url(string): kubernetes.URL",
  "isURL(string): bool",
  ...["Scheme", "Host", "Hostname", "Port", "EscapedPath"].map((part) => `kubernetes.URL.get${part}(): string`),
  "kubernetes.URL.getQuery(): map(string, list(string))",
  "ip(string): net.IP",
  "isIP(string): bool",
  "ip.isCanonical(string): bool",
  "string(net.IP): string",
  "net.IP.family(): int",
  ...["Unspecified", "Loopback", "LinkLocalMulticast", "LinkLocalUnicast", "GlobalUnicast"].map(
    (what) => `net.IP.is${what}(): bool`,
  ),
  "cidr(string): net.CIDR",
  "isCIDR(string): bool",
  "string(net.CIDR): string",
  "net.CIDR.containsIP(string): bool",
  "net.CIDR.containsIP(net.IP): bool",
  "net.CIDR.containsCIDR(string): bool",
  "net.CIDR.containsCIDR(net.CIDR): bool",
  "net.CIDR.ip(): net.IP",
  "net.CIDR.masked(): net.CIDR",
  "net.CIDR.prefixLength(): int",
  ...["Quantity", "Semver"]
    .map((type) => `kubernetes.${type}`)
    .flatMap((type) => [
      `${type}.isLessThan(${type}): bool`,
      `${type}.isGreaterThan(${type}): bool`,
      `${type}.compareTo(${type}): int`,
    ]),
  "quantity(string): kubernetes.Quantity",
  "isQuantity(string): bool",
  "kubernetes.Quantity.sign(): int",
  "kubernetes.Quantity.isInteger(): bool",
  "kubernetes.Quantity.asInteger(): int",
  "kubernetes.Quantity.asApproximateFloat(): double",
  ...["add", "sub"].flatMap((name) =>
    ["kubernetes.Quantity", "int"].map((other) => `kubernetes.Quantity.${name}(${other}): kubernetes.Quantity`),
  ),
  "semver(string): kubernetes.Semver",
  "semver(string, bool): kubernetes.Semver",
  "isSemver(string): bool",
  "isSemver(string, bool): bool",
  ...["major", "minor", "patch"].map((part) => `kubernetes.Semver.${part}(): int`),
  "format.named(string): optional(kubernetes.NamedFormat)",
  "kubernetes.NamedFormat.validate(string): optional(list(string))",
];

const authorizer = "kubernetes.authorization.Authorizer";
const [pathCheck, groupCheck, resourceCheck, decision] = ["PathCheck", "GroupCheck", "ResourceCheck", "Decision"].map(
  (name) => `kubernetes.authorization.${name}`,
);
const authorization = [
  `${authorizer}.path(string): ${pathCheck}`,
  `${authorizer}.group(string): ${groupCheck}`,
  `${authorizer}.serviceAccount(string, string): ${authorizer}`,
  `${groupCheck}.resource(string): ${resourceCheck}`,
  ...["subresource", "namespace", "name", "fieldSelector", "labelSelector"].map(
    (name) => `${resourceCheck}.${name}(string): ${resourceCheck}`,
  ),
  `${pathCheck}.check(string): ${decision}`,
  `${resourceCheck}.check(string): ${decision}`,
  `${decision}.allowed(): bool`,
  `${decision}.errored(): bool`,
  `${decision}.reason(): string`,
  `${decision}.error(): string`,
];

/** The names of `format.NAME()`. */
export const formatNames = [
  "dns1123Label",
  "dns1123Subdomain",
  "dns1035Label",
  "qualifiedName",
  "dns1123LabelPrefix",
  "dns1123SubdomainPrefix",
  "dns1035LabelPrefix",
  "labelValue",
  "uri",
  "uuid",
  "byte",
  "date",
  "datetime",
] as const;

/** Global functions with a dot in their names; any other dot stands behind a receiver's type. */
const namespaced = /^(sets|optional|strings|format|ip)\.([a-zA-Z0-9]+)$/;

function parse(text: string): Overload {
  const colon = text.lastIndexOf("): ");
  const head = text.slice(0, colon + 1);
  const open = openingOf(head);
  const [path, rest] = [head.slice(0, open), head.slice(open + 1, -1)];
  const args = splitTypes(rest).map(parseType);
  const result = parseType(text.slice(colon + 3));
  const dot = path.lastIndexOf(".");
  const isMember = dot > 0 && (!namespaced.test(path) || path.includes("("));
  if (!isMember) return { name: path, isMember, args, result, text };
  return { name: path.slice(dot + 1), isMember, args: [parseType(path.slice(0, dot)), ...args], result, text };
}

/** Where the arguments open: receivers have parentheses of their own. */
function openingOf(head: string): number {
  let depth = 0;
  for (let at = head.length - 1; at >= 0; at--) {
    if (head[at] === ")") depth++;
    if (head[at] === "(" && --depth === 0) return at;
  }
  return -1;
}

let known: ReadonlyMap<string, readonly Overload[]> | undefined;

/** The forms of a function, global ones and members together. */
export function overloadsOf(name: string): readonly Overload[] {
  known ??= Map.groupBy(
    [
      ...operators,
      ...conversions,
      ...standard,
      ...strings,
      ...optionals,
      ...kubernetes,
      ...formatNames.map((format) => `format.${format}(): kubernetes.NamedFormat`),
      ...authorization,
    ].map(parse),
    (overload) => overload.name,
  );
  return known.get(name) ?? [];
}

export const authorizerType = parseType(authorizer);
export const resourceCheckType = parseType(resourceCheck!);
