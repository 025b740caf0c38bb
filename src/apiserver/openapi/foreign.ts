import type { Registry } from "../machinery/registry.ts";

type Json = Readonly<Record<string, unknown>>;

export interface DocumentTwo extends Json {
  readonly paths: Json;
  readonly definitions: Json;
}

/** What servers behind us say of the groups and versions that are theirs. Who doesn't answer is left out, and `isWhole` false. */
export async function foreignTwo({ foreign }: Registry): Promise<{ found: DocumentTwo[]; isWhole: boolean }> {
  const asked = [...foreign].map(async ([groupVersion, documents]) => {
    const { paths, definitions } = await documents.versionTwo();
    const root = `/apis/${groupVersion}/`;
    const theirs = Object.entries((paths ?? {}) as Json).filter(([path]) => path.startsWith(root));
    const inUse = reachable(theirs, (definitions ?? {}) as Json);
    return { paths: Object.fromEntries(theirs), definitions: Object.fromEntries(inUse) };
  });
  const settled = await Promise.allSettled(asked);
  const found = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  return { found, isWhole: found.length === settled.length };
}

/** Ours wins where both have a definition of one name: those are the types that all servers share. */
export function merge(ours: DocumentTwo, others: readonly DocumentTwo[]): DocumentTwo {
  if (others.length === 0) return ours;
  return {
    ...ours,
    paths: Object.assign({}, ...others.map(({ paths }) => paths), ours.paths),
    definitions: Object.assign({}, ...others.map(({ definitions }) => definitions), ours.definitions),
  };
}

/** The definitions that something refers to, and those that they refer to. */
function reachable(from: unknown, definitions: Json): Map<string, unknown> {
  const found = new Map<string, unknown>();
  const left: unknown[] = [from];
  while (left.length > 0) {
    const text = JSON.stringify(left.pop());
    for (const [, name = ""] of text.matchAll(/"\$ref":"#\/definitions\/([^"]+)"/g)) {
      if (found.has(name) || definitions[name] === undefined) continue;
      found.set(name, definitions[name]);
      left.push(definitions[name]);
    }
  }
  return found;
}
