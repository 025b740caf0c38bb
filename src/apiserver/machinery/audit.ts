import { rfc3339Micro } from "../../base/index.ts";
import type { UserInfo } from "../../api/index.ts";
import type { Audit, AuditRecord, RequestInfo } from "./pipeline.ts";

/** audit.k8s.io/v1 events, one JSON line each. https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/ */
export type AuditLevel = "None" | "Metadata" | "Request" | "RequestResponse";

/**
 * A rule of upstream's audit Policy. What is left out matches everything; a star at the end of a URL matches the rest; of resources, a star stands
 * for any resource or any subresource.
 */
export interface AuditRule {
  readonly level: AuditLevel;
  readonly users?: readonly string[];
  readonly userGroups?: readonly string[];
  readonly verbs?: readonly string[];
  readonly namespaces?: readonly string[];
  readonly resources?: readonly AuditResources[];
  readonly nonResourceURLs?: readonly string[];
  /** Beside the policy's own. */
  readonly omitStages?: ReadonlyArray<AuditRecord["stage"]>;
  /** The policy's by default. */
  readonly omitManagedFields?: boolean;
}

export interface AuditResources {
  readonly group?: string;
  readonly resources?: readonly string[];
  /** Of objects; a request that names none never matches. */
  readonly resourceNames?: readonly string[];
}

export interface AuditOptions {
  readonly write: (line: string) => void;
  /** The first rule that matches decides. Everything at `Metadata` by default. */
  readonly rules?: readonly AuditRule[];
  readonly omitStages?: ReadonlyArray<AuditRecord["stage"]>;
  /** Leaves metadata.managedFields out of the bodies that are written down. */
  readonly omitManagedFields?: boolean;
}

/** Bodies whose content must never be written down, whatever the policy says. */
const SECRET = new Set(["secrets", "tokenreviews"]);
const SECRET_SUBRESOURCE = new Set(["token"]);

export function createAudit(options: AuditOptions): Audit {
  const { rules = [EVERYTHING], omitStages = ["RequestReceived"], write } = options;
  return {
    record(record) {
      if (omitStages.includes(record.stage)) return;
      const rule = rules.find((one) => matches(one, record));
      if (!rule || rule.level === "None" || rule.omitStages?.includes(record.stage)) return;
      const omitsManagedFields = rule.omitManagedFields ?? options.omitManagedFields ?? false;
      write(`${JSON.stringify(eventOf(record, rule.level, omitsManagedFields))}\n`);
    },
  };
}

const EVERYTHING: AuditRule = { level: "Metadata" };

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
  return rule.resources.some(
    ({ group = "", resources, resourceNames }) =>
      group === info.group &&
      (!resources?.length || resources.some((pattern) => isResource(pattern, info))) &&
      includes(resourceNames, info.name),
  );
}

function isResource(pattern: string, { resource, subresource }: RequestInfo): boolean {
  if (pattern === "*") return true;
  const [wanted, sub = ""] = pattern.split("/");
  const fits = (part: string | undefined, value: string) => part === "*" || part === value;
  return fits(wanted, resource) && (sub === "*" ? subresource !== "" : sub === subresource);
}

function eventOf(record: AuditRecord, level: AuditLevel, omitsManagedFields: boolean): Record<string, unknown> {
  const shownBody = omitsManagedFields ? withoutManagedFields : (body: unknown) => body;
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
    requestObject: shown === "Request" || shown === "RequestResponse" ? shownBody(requestObject(record)) : undefined,
    responseObject: shown === "RequestResponse" ? shownBody(record.responseObject) : undefined,
    requestReceivedTimestamp: rfc3339Micro(record.receivedAtMs),
    stageTimestamp: rfc3339Micro(record.atMs),
    annotations: Object.keys(annotations).length > 0 ? annotations : undefined,
  };
}

/** Of an object, or of each in a list. */
function withoutManagedFields(body: unknown): unknown {
  if (typeof body !== "object" || body === null) return body;
  const { metadata, items } = body as { metadata?: Record<string, unknown>; items?: unknown };
  return {
    ...body,
    ...(metadata && { metadata: { ...metadata, managedFields: undefined } }),
    ...(Array.isArray(items) && { items: items.map(withoutManagedFields) }),
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
