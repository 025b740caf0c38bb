import { isObject } from "../decode.ts";

/**
 * A set of fields as a tree, in FieldsV1's own vocabulary: `f:name` a field, `k:{"name":"x"}` an item by its keys, `v:"x"` an item by value,
 * `i:0` by position, `.` the thing itself. https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
 * Sets are not changed once shared; operations make new ones.
 */
export class FieldSet {
  /** Whether the path that leads here is in the set. */
  member: boolean;
  readonly children = new Map<string, FieldSet>();

  constructor(member = false) {
    this.member = member;
  }

  child(element: string): FieldSet {
    let child = this.children.get(element);
    if (!child) this.children.set(element, (child = new FieldSet()));
    return child;
  }

  get isEmpty(): boolean {
    return !this.member && [...this.children.values()].every((child) => child.isEmpty);
  }

  union(other: FieldSet): FieldSet {
    const result = new FieldSet(this.member || other.member);
    for (const [element, child] of this.children) {
      const theirs = other.children.get(element);
      result.children.set(element, theirs ? child.union(theirs) : child);
    }
    for (const [element, child] of other.children)
      if (!result.children.has(element)) result.children.set(element, child);
    return result;
  }

  difference(other: FieldSet): FieldSet {
    return this.#filter(other, (mine, theirs) => mine && !theirs, true);
  }

  intersection(other: FieldSet): FieldSet {
    return this.#filter(other, (mine, theirs) => mine && theirs, false);
  }

  #filter(other: FieldSet, keep: (mine: boolean, theirs: boolean) => boolean, keepAlone: boolean): FieldSet {
    const result = new FieldSet(keep(this.member, other.member));
    for (const [element, child] of this.children) {
      const theirs = other.children.get(element);
      const kept = theirs ? child.#filter(theirs, keep, keepAlone) : keepAlone ? child : undefined;
      if (kept && !kept.isEmpty) result.children.set(element, kept);
    }
    return result;
  }

  equals(other: FieldSet): boolean {
    return JSON.stringify(this.toFieldsV1()) === JSON.stringify(other.toFieldsV1());
  }

  /** Every path in the set, in order. */
  *paths(prefix: readonly string[] = []): Generator<readonly string[], void, undefined> {
    if (this.member && prefix.length > 0) yield prefix;
    for (const element of [...this.children.keys()].sort())
      yield* this.children.get(element)!.paths([...prefix, element]);
  }

  toFieldsV1(): Record<string, unknown> {
    const fields: Record<string, unknown> = {};
    for (const element of [...this.children.keys()].sort()) {
      const child = this.children.get(element)!;
      if (child.isEmpty) continue;
      const inner = child.toFieldsV1();
      fields[element] = child.member && Object.keys(inner).length > 0 ? { ".": {}, ...inner } : inner;
    }
    return fields;
  }

  static fromFieldsV1(fields: unknown): FieldSet {
    const set = new FieldSet();
    if (!isObject(fields)) return set;
    const keys = Object.keys(fields);
    for (const key of keys) {
      if (key === ".") set.member = true;
      else {
        const child = FieldSet.fromFieldsV1(fields[key]);
        if (child.children.size === 0) child.member = true;
        set.children.set(key, child);
      }
    }
    return set;
  }
}

/** A path as conflicts show it: `.spec.containers[name="web"].image`. */
export function formatPath(path: readonly string[]): string {
  return path.map(formatElement).join("");
}

function formatElement(element: string): string {
  const rest = element.slice(2);
  switch (element[0]) {
    case "f":
      return `.${rest}`;
    case "k": {
      const keys = Object.entries(JSON.parse(rest) as Record<string, unknown>);
      return `[${keys.map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(",")}]`;
    }
    case "v":
      return `[=${rest}]`;
    default:
      return `[${rest}]`;
  }
}
