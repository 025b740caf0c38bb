import type { KubeObject } from "../../api/index.ts";
import type { FieldError, Kind } from "./kind.ts";
import type { Call } from "./pipeline.ts";
import { isTrue } from "./request-info.ts";
import { fieldMatcher, matchesLabels, parseFieldSelector, parseLabelSelector } from "./selectors.ts";
import { badRequestError, invalidError } from "./status.ts";

/** ListOptions, checked. https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions */
export interface ListOptions {
  readonly namespace: string;
  /** From the path: `watch` of one object. */
  readonly name: string;
  readonly limit: number;
  readonly continueToken: string;
  /** Undefined: unset. */
  readonly revision: number | undefined;
  readonly match: "" | "Exact" | "NotOlderThan";
  readonly sendInitialEvents: boolean | undefined;
  readonly bookmarks: boolean;
  readonly timeoutSeconds: number | undefined;
  /** Undefined: everything matches. */
  readonly matches: ((object: KubeObject) => boolean) | undefined;
  /** Says the same of two requests whose watches may share their encoded events. */
  readonly selectorKey: string;
}

export function listOptions({ request, info }: Call, kind: Kind): ListOptions {
  const { query } = request;
  const watch = info.verb === "watch";
  const labelSelector = query.get("labelSelector") ?? "";
  const fieldSelector = query.get("fieldSelector") ?? "";
  const options: ListOptions = {
    namespace: info.namespace,
    name: info.name,
    limit: wholeNumber(query, "limit") ?? 0,
    continueToken: query.get("continue") ?? "",
    revision: resourceVersion(query.get("resourceVersion") ?? ""),
    match: (query.get("resourceVersionMatch") ?? "") as ListOptions["match"],
    sendInitialEvents: query.has("sendInitialEvents") ? isTrue(query.get("sendInitialEvents")) : undefined,
    bookmarks: isTrue(query.get("allowWatchBookmarks") ?? "false"),
    timeoutSeconds: wholeNumber(query, "timeoutSeconds"),
    matches: selector(kind, labelSelector, fieldSelector),
    selectorKey: JSON.stringify([info.namespace, info.name, labelSelector, fieldSelector]),
  };
  const errors = watch ? watchProblems(options) : listProblems(options);
  if (errors.length > 0) throw invalidError({ group: "meta.k8s.io", kind: "ListOptions" }, "", errors);
  return options;
}

function wholeNumber(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null || text === "") return undefined;
  if (!/^\d{1,15}$/.test(text)) {
    throw badRequestError(`unable to decode query: strconv.ParseInt: parsing "${text}": invalid syntax`);
  }
  return Number(text);
}

function resourceVersion(text: string): number | undefined {
  if (text === "") return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  const detail = `Invalid value: ${JSON.stringify(text)}: strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`;
  throw invalidError({ group: "", kind: "ListOptions" }, "", [
    { type: "FieldValueInvalid", field: "resourceVersion", detail },
  ]);
}

function selector(kind: Kind, labelText: string, fieldText: string): ((object: KubeObject) => boolean) | undefined {
  const labels = parseLabelSelector(labelText);
  const terms = parseFieldSelector(fieldText);
  const byField = fieldMatcher(terms, kind.strategy.selectableFields, kind.namespaced);
  if (labels.length === 0) return terms.length === 0 ? undefined : byField;
  const byLabel = (object: KubeObject) => matchesLabels(labels, object.metadata.labels);
  return terms.length === 0 ? byLabel : (object) => byLabel(object) && byField(object);
}

const forbidden = (field: string, text: string): FieldError => ({
  type: "FieldValueForbidden",
  field,
  detail: `Forbidden: ${text}`,
});

function listProblems({ match, revision, continueToken, sendInitialEvents }: ListOptions): FieldError[] {
  if (sendInitialEvents !== undefined)
    return [forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")];
  if (match === "") return [];
  const field = "resourceVersionMatch";
  if (match !== "Exact" && match !== "NotOlderThan") return [unsupported(match, `"Exact", "NotOlderThan", ""`)];
  if (continueToken !== "") return [forbidden(field, "resourceVersionMatch is forbidden for continue")];
  if (revision === undefined)
    return [forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided")];
  if (match === "Exact" && revision === 0)
    return [forbidden(field, `resourceVersionMatch "exact" is forbidden for resourceVersion "0"`)];
  return [];
}

function watchProblems({ match, sendInitialEvents }: ListOptions): FieldError[] {
  const field = "resourceVersionMatch";
  if (sendInitialEvents === undefined) {
    if (match === "") return [];
    return [forbidden(field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")];
  }
  if (match === "")
    return [forbidden(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")];
  return match === "NotOlderThan" ? [] : [unsupported(match, `"NotOlderThan"`)];
}

const unsupported = (value: string, supported: string): FieldError => ({
  type: "FieldValueNotSupported",
  field: "resourceVersionMatch",
  detail: `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported}`,
});
