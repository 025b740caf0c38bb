import { readFile } from "node:fs/promises";
import { invalidArgument, messageOf } from "../../base/index.ts";
import type { AuditOptions, AuditRule } from "../machinery/audit.ts";

/** What a policy decides of an audit log. */
export type AuditPolicy = Required<Pick<AuditOptions, "rules" | "omitStages" | "omitManagedFields">>;

const LEVELS: readonly unknown[] = ["None", "Metadata", "Request", "RequestResponse"] satisfies AuditRule["level"][];
const STAGES: readonly unknown[] = ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"];

interface Policy {
  apiVersion?: string;
  kind?: string;
  rules?: AuditRule[];
  omitStages?: AuditOptions["omitStages"];
  omitManagedFields?: boolean;
}

/**
 * Upstream's --audit-policy-file: https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/#audit-k8s-io-v1-Policy. Throws
 * invalidArgument that says what is wrong with it.
 */
export async function readAuditPolicy(file: string): Promise<AuditPolicy> {
  const { load } = await import("js-yaml");
  let policy: Policy;
  try {
    policy = (load(await readFile(file, "utf8")) ?? {}) as Policy;
  } catch (cause) {
    throw invalidArgument(`failed to read audit policy ${file}: ${messageOf(cause)}`, { cause });
  }
  const refuse = (why: string) => invalidArgument(`audit policy ${file}: ${why}`);
  const { apiVersion, kind, rules = [], omitStages = [], omitManagedFields = false } = policy;
  if (apiVersion !== "audit.k8s.io/v1" || kind !== "Policy")
    throw refuse("must be of apiVersion audit.k8s.io/v1 and kind Policy");
  if (rules.length === 0) throw refuse("loaded illegal policy with 0 rules");
  const checkStages = (at: string, stages: readonly unknown[] = []) => {
    for (const stage of stages)
      if (!STAGES.includes(stage)) throw refuse(`${at}: Invalid value: ${JSON.stringify(stage)}: invalid stage`);
  };
  checkStages("omitStages", omitStages);
  for (const [at, { level, nonResourceURLs, resources, omitStages: omitted }] of rules.entries()) {
    if (!LEVELS.includes(level))
      throw refuse(`rules[${at}].level: Unsupported value: ${JSON.stringify(level)}: supported: ${LEVELS.join(", ")}`);
    if (nonResourceURLs?.length && resources?.length)
      throw refuse(`rules[${at}].nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs`);
    checkStages(`rules[${at}].omitStages`, omitted);
  }
  return { rules, omitStages, omitManagedFields };
}
