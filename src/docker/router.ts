import { notFound } from "../base/index.ts";
import type { Route } from "./route.ts";

interface Compiled {
  readonly route: Route;
  readonly pattern: RegExp;
  readonly names: readonly string[];
}

export interface Match {
  readonly route: Route;
  readonly params: Readonly<Record<string, string>>;
}

/** Finds the route of a method and a path. Tables are searched in order, so the more specific path stands first. */
export class Router {
  readonly #byMethod = new Map<string, Compiled[]>();

  constructor(routes: readonly Route[]) {
    for (const route of routes) {
      const list = this.#byMethod.get(route.method) ?? [];
      list.push(compile(route));
      this.#byMethod.set(route.method, list);
    }
  }

  /** `path` without version prefix, still encoded. Throws notFound in Docker's words. A HEAD without a route of its own is answered by GET's. */
  find(method: string, path: string): Match {
    const match = this.#search(method, path) ?? (method === "HEAD" ? this.#search("GET", path) : undefined);
    if (!match) throw notFound("page not found", { details: { method, path } });
    return match;
  }

  #search(method: string, path: string): Match | undefined {
    for (const { route, pattern, names } of this.#byMethod.get(method) ?? []) {
      const found = pattern.exec(path);
      if (found) return { route, params: Object.fromEntries(names.map((name, at) => [name, decode(found[at + 1]!)])) };
    }
    return undefined;
  }
}

function compile(route: Route): Compiled {
  const names: string[] = [];
  const source = route.path
    .split(/(\{[a-z]+(?:\.\.\.)?\})/)
    .map((part) => {
      const parameter = /^\{([a-z]+)(\.\.\.)?\}$/.exec(part);
      if (!parameter) return part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
      names.push(parameter[1]!);
      return parameter[2] ? "(.+)" : "([^/]+)";
    })
    .join("");
  return { route, pattern: new RegExp(`^${source}/?$`), names };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw notFound("page not found", { details: { path: text } });
  }
}
