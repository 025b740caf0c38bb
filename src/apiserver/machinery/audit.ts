import { rfc3339Micro } from "../../base/index.ts";
import type { UserInfo } from "../../api/index.ts";
import type { Audit, AuditRecord } from "./pipeline.ts";

/** audit.k8s.io/v1 events, one JSON line each. https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/ */
export type AuditLevel = "None" | "Metadata" | "Request" | "RequestResponse";

/** A rule of upstream's audit Policy. What is left out matches everything; `*` at the end of a URL matches the rest. */
export interface AuditRule {
  readonly level: AuditLevel;
  readonly users?: readonly string[];
  readonly userGroups?: readonly string[];
  readonly verbs?: readonly string[];
  readonly namespaces?: readonly string[];
  readonly resources?: ReadonlyArray<{ readonly group?: string; readonly resources?: readonly string[] }>;
  readonly nonResourceURLs?: readonly string[];
}

export interface AuditOptions {
  readonly write: (line: string) => void;
  /** The first rule that matches decides. Everything at `Metadata` by default. */
  readonly rules?: readonly AuditRule[];
  readonly omitStages?: ReadonlyArray<AuditRecord["stage"]>;
}

/** Bodies whose content must never be written down, whatever the policy says. */
const SECRET = new Set(["secrets", "tokenreviews"]);
const SECRET_SUBRESOURCE = new Set(["token"]);

export function createAudit(options: AuditOptions): Audit {
  const { rules = [{ level: "Metadata" }], omitStages = ["RequestReceived"], write } = options;
  return {
    record(record) {
      if (omitStages.includes(record.stage)) return;
      const level = rules.find((rule) => matches(rule, record))?.level ?? "None";
      if (level !== "None") write(`${JSON.stringify(eventOf(record, level))}\n`);
    },
  };
}

function matches(rule: AuditRule, { info, user }: AuditRecord): boolean {
  const includes = (list: readonly string[] | undefined, value: string) => !list?.length || list.includes(value);
  if (!includes(rule.users, user.name) || !includes(rule.verbs, info.verb)) return false;
  if (rule.userGroups?.length && !rule.userGroups.some((group) => user.groups.includes(group))) return false;
  if (!info.isResource) {
    if (rule.resources?.length || rule.namespaces?.length) return false;
    const fits = (url: string) => (url.endsWith("*") ? info.path.startsWith(url.slice(0, -1)) : url === info.path);
    return !rule.nonResourceURLs?.length || rule.nonResourceURLs.some(fits);
  }
  if (rule.nonResourceURLs?.length || !includes(rule.namespaces, info.namespace)) return false;
  if (!rule.resources?.length) return true;
  const name = info.subresource === "" ? info.resource : `${info.resource}/${info.subresource}`;
  return rule.resources.some(({ group = "", resources }) => group === info.group && includes(resources, name));
}

function eventOf(record: AuditRecord, level: AuditLevel): Record<string, unknown> {
  const { info, request, user, impersonated, status, annotations } = record;
  const isSecret = SECRET.has(info.resource) || SECRET_SUBRESOURCE.has(info.subresource);
  const shown = isSecret ? "Metadata" : level;
  const { resource, namespace, name, group, version, subresource } = info;
  const text = request.query.toString();
  return {
    kind: "Event",
    apiVersion: "audit.k8s.io/v1",
    level: shown,
    auditID: record.auditId,
    stage: record.stage,
    requestURI: text === "" ? request.path : `${request.path}?${text}`,
    verb: info.verb,
    user: userOf(user),
    impersonatedUser: impersonated && userOf(impersonated),
    sourceIPs: request.remoteAddress ? [request.remoteAddress] : undefined,
    userAgent: request.headers["user-agent"],
    objectRef: info.isResource
      ? {
          resource,
          namespace: namespace || undefined,
          name: name || undefined,
          apiGroup: group || undefined,
          apiVersion: version,
          subresource: subresource || undefined,
        }
      : undefined,
    responseStatus: status > 0 ? { metadata: {}, code: status } : undefined,
    requestObject: shown === "Request" || shown === "RequestResponse" ? requestObject(record) : undefined,
    responseObject: shown === "RequestResponse" ? record.responseObject : undefined,
    requestReceivedTimestamp: rfc3339Micro(record.receivedAtMs),
    stageTimestamp: rfc3339Micro(record.atMs),
    annotations: Object.keys(annotations).length > 0 ? annotations : undefined,
  };
}

const userOf = ({ name, uid, groups, extra }: UserInfo) => ({ username: name, uid, groups, extra });

function requestObject({ request }: AuditRecord): unknown {
  if (request.object !== undefined) return request.object;
  if (!request.body?.length) return undefined;
  try {
    return JSON.parse(Buffer.from(request.body).toString()) as unknown;
  } catch {
    return undefined;
  }
}
