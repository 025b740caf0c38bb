import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { text } from "node:stream/consumers";
import { invalidArgument } from "../../base/index.ts";
import type { AnyObject } from "../../client/index.ts";

/** Every object of files, folders (their .yaml, .yml and .json) and `-` for the input; a List's items one by one. */
export async function readManifests(files: readonly string[]): Promise<AnyObject[]> {
  if (files.length === 0) throw invalidArgument("which file?", { hint: "-f FILE, -f FOLDER or -f -" });
  const { loadAll } = await import("js-yaml");
  const objects: AnyObject[] = [];
  for (const file of files.flatMap(expand)) {
    const content = file === "-" ? await text(process.stdin) : readFileSync(file, "utf8");
    try {
      for (const object of loadAll(content) as (AnyObject & { items?: AnyObject[] })[])
        if (object) objects.push(...(object.kind?.endsWith("List") ? (object.items ?? []) : [object]));
    } catch (error) {
      throw invalidArgument(`${file}: ${(error as Error).message}`, { cause: error });
    }
  }
  for (const { kind, apiVersion, metadata } of objects)
    if (!kind || !apiVersion || !metadata?.name)
      throw invalidArgument("a manifest needs apiVersion, kind and metadata.name");
  return objects;
}

function expand(file: string): string[] {
  if (file === "-" || !statSync(file, { throwIfNoEntry: false })?.isDirectory()) return [file];
  return readdirSync(file)
    .filter((name) => /\.(ya?ml|json)$/.test(name))
    .toSorted()
    .map((name) => path.join(file, name));
}
