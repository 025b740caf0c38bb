import type { Clock, Logger } from "../../base/index.ts";
import { createAudit } from "../machinery/audit.ts";
import type { Audit } from "../machinery/pipeline.ts";
import type { AuditWebhookOptions } from "./webhook.ts";

/** What upstream's --audit-* flags choose. */
export interface AuditBackends {
  /** Takes each event as a line. */
  readonly log?: (line: string) => void;
  /** Everything at `Metadata` by default. */
  readonly policyFile?: string;
  readonly webhook?: AuditWebhookOptions;
}

export interface OpenAudit {
  readonly audit: Audit;
  /** Sends what a webhook has not got yet. */
  close(): Promise<void>;
}

/** Undefined where nobody would read it. Throws invalidArgument for files that are wrong. */
export async function openAudit(
  { log: writeLog, policyFile, webhook: options }: AuditBackends,
  context: { clock: Clock; log: Logger },
): Promise<OpenAudit | undefined> {
  const policy = policyFile === undefined ? {} : await (await import("./policy.ts")).readAuditPolicy(policyFile);
  const webhook =
    options && (await (await import("./webhook.ts")).AuditWebhook.open(options, context.clock, context.log));
  if (!writeLog && !webhook) return undefined;
  const write = (line: string) => {
    writeLog?.(line);
    webhook?.write(line);
  };
  return { audit: createAudit({ ...policy, write }), close: async () => webhook?.close() };
}
