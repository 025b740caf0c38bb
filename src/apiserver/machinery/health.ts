import { messageOf, type Counter, type Metrics } from "../../base/index.ts";
import type { ApiRequest, ApiResponse } from "../../api/index.ts";
import { textResponse } from "./respond.ts";

export type HealthCheck = () => Promise<string | undefined> | string | undefined;

/** /healthz, /livez and /readyz, whole or by check, in upstream's text form. https://kubernetes.io/docs/reference/using-api/health-checks/ */
export class Health {
  readonly #checks = new Map<string, HealthCheck>([["ping", () => undefined]]);
  readonly #outcomes: Counter | undefined;
  readonly #states: Counter | undefined;

  constructor(metrics?: Metrics) {
    this.#outcomes = metrics?.counter("kubernetes_healthchecks_total", "Outcomes of health checks.", [
      "name",
      "status",
      "type",
    ]);
    this.#states = metrics?.level("kubernetes_healthcheck", "Whether a health check passed when it was last asked.", [
      "name",
      "type",
    ]);
  }

  add(name: string, check: HealthCheck): void {
    this.#checks.set(name, check);
  }

  /** Undefined when the path is something else. */
  async answer({ path, query }: ApiRequest): Promise<ApiResponse | undefined> {
    const [, root = "", name, ...more] = path.split("/");
    if (!["healthz", "livez", "readyz"].includes(root) || more.length > 0) return undefined;
    if (name) {
      const check = this.#checks.get(name);
      return check ? this.#one(root, name, check) : undefined;
    }
    const excluded = new Set(query.getAll("exclude"));
    const lines: string[] = [];
    let failed = false;
    for (const [each, check] of this.#checks) {
      const problem = excluded.has(each) ? undefined : await this.#run(root, each, check);
      failed ||= problem !== undefined;
      const state = excluded.has(each) ? "excluded: ok" : problem === undefined ? "ok" : "failed: reason withheld";
      lines.push(`[${problem === undefined ? "+" : "-"}]${each} ${state}`);
    }
    if (failed) return textResponse(`${lines.join("\n")}\n${root} check failed\n`, 500);
    return textResponse(query.has("verbose") ? `${lines.join("\n")}\n${root} check passed\n` : "ok");
  }

  async #one(root: string, name: string, check: HealthCheck): Promise<ApiResponse> {
    const problem = await this.#run(root, name, check);
    if (problem === undefined) return textResponse("ok");
    return textResponse(`internal server error: ${name}: ${problem}\n`, 500);
  }

  async #run(root: string, name: string, check: HealthCheck): Promise<string | undefined> {
    const problem = await run(check);
    const ok = problem === undefined;
    if (this.#outcomes) this.#outcomes.of(name, ok ? "success" : "error", root).value++;
    if (this.#states) this.#states.of(name, root).value = ok ? 1 : 0;
    return problem;
  }
}

async function run(check: HealthCheck): Promise<string | undefined> {
  try {
    return await check();
  } catch (error) {
    return messageOf(error);
  }
}
