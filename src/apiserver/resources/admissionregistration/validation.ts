import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { each, named, requiredName } from "../shared/checks.ts";
import { duplicate, forbidden, invalid, oneOf, required, tooMany } from "../shared/field-errors.ts";
import { isDns1035Label, isDns1123Subdomain, isQualifiedName } from "../shared/names.ts";
import { validateLabelSelector } from "../shared/object-meta.ts";

/** Upstream's pkg/apis/admissionregistration/validation. */

type Webhook = k8s.MutatingWebhook | k8s.ValidatingWebhook;
const operations = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const maxMatchConditions = 64;

/** A name with at least three parts. */
function fullyQualified(at: string, name: string | undefined): FieldError[] {
  if (!name) return [required(at)];
  const wrong = named(at, name, isDns1123Subdomain);
  if (wrong.length > 0) return wrong;
  return name.split(".").length < 3
    ? [invalid(at, name, "should be a domain with at least three segments separated by dots")]
    : [];
}

function validateRule(rule: k8s.RuleWithOperations, at: string): FieldError[] {
  const star = (field: "apiGroups" | "apiVersions" | "operations"): FieldError[] =>
    (rule[field]?.length ?? 0) > 1 && rule[field]!.includes("*")
      ? [invalid(`${at}.${field}`, rule[field], "if '*' is present, must not specify other " + words[field])]
      : [];
  const words = { apiGroups: "API groups", apiVersions: "API versions", operations: "operations" };
  const errors: FieldError[] = [];
  if ((rule.operations ?? []).length === 0) errors.push(required(`${at}.operations`));
  errors.push(...star("operations"));
  errors.push(...each(rule.operations, `${at}.operations`, (operation, here) => oneOf(here, operation, operations)));
  if ((rule.apiGroups ?? []).length === 0) errors.push(required(`${at}.apiGroups`));
  errors.push(...star("apiGroups"));
  if ((rule.apiVersions ?? []).length === 0) errors.push(required(`${at}.apiVersions`));
  errors.push(...star("apiVersions"));
  errors.push(
    ...each(rule.apiVersions, `${at}.apiVersions`, (version, here) => (version === "" ? [required(here)] : [])),
  );
  if ((rule.resources ?? []).length === 0) errors.push(required(`${at}.resources`));
  errors.push(...each(rule.resources, `${at}.resources`, (name, here) => (name === "" ? [required(here)] : [])));
  return [...errors, ...oneOf(`${at}.scope`, rule.scope, ["*", "Cluster", "Namespaced"])];
}

function validateMatchConditions(conditions: readonly k8s.MatchCondition[] | undefined, at: string): FieldError[] {
  const names = new Set<string>();
  return [
    ...((conditions?.length ?? 0) > maxMatchConditions ? [tooMany(at, conditions!.length, maxMatchConditions)] : []),
    ...each(conditions, at, ({ name, expression }, here) => {
      const errors = expression?.trim() ? [] : [required(`${here}.expression`)];
      errors.push(...requiredName(`${here}.name`, name, isQualifiedName));
      if (names.has(name)) errors.push(duplicate(`${here}.name`, name));
      names.add(name);
      return errors;
    }),
  ];
}

function validateClientConfig(config: k8s.WebhookClientConfig | undefined, at: string): FieldError[] {
  const url = config?.url;
  const service = config?.service;
  if ((url === undefined) === (service === undefined))
    return [required(at, "exactly one of url or service is required")];
  if (url !== undefined) return validateUrl(`${at}.url`, url);
  const errors = requiredName(`${at}.service.name`, service!.name, () => []);
  if (!service!.namespace) errors.push(required(`${at}.service.namespace`, "service namespace is required"));
  if (service!.path !== undefined && !service!.path.startsWith("/"))
    errors.push(invalid(`${at}.service.path`, service!.path, "must start with a '/'"));
  const port = service!.port ?? 443;
  if (port < 1 || port > 65_535)
    errors.push(invalid(`${at}.service.port`, port, "port is not valid: must be between 1 and 65535, inclusive"));
  return errors;
}

function validateUrl(at: string, text: string): FieldError[] {
  const form = "; desired format: https://host[/path]";
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return [required(at, `url must be a valid URL: parse ${JSON.stringify(text)}: invalid URI for request${form}`)];
  }
  const errors: FieldError[] = [];
  if (url.protocol !== "https:")
    errors.push(invalid(at, url.protocol.replace(":", ""), `'https' is the only allowed URL scheme${form}`));
  if (url.host === "") errors.push(invalid(at, url.host, `host must be specified${form}`));
  if (url.username || url.password)
    errors.push(invalid(at, url.username, "user information is not permitted in the URL"));
  if (url.hash) errors.push(invalid(at, url.hash.slice(1), "fragments are not permitted in the URL"));
  if (url.search) errors.push(invalid(at, url.search.slice(1), "query parameters are not permitted in the URL"));
  return errors;
}

function validateWebhook(hook: Webhook, at: string): FieldError[] {
  const versions = hook.admissionReviewVersions ?? [];
  const errors = fullyQualified(`${at}.name`, hook.name);
  errors.push(...each(hook.rules, `${at}.rules`, validateRule));
  errors.push(...oneOf(`${at}.failurePolicy`, hook.failurePolicy, ["Fail", "Ignore"]));
  errors.push(...oneOf(`${at}.matchPolicy`, hook.matchPolicy, ["Equivalent", "Exact"]));
  errors.push(
    ...(hook.sideEffects
      ? oneOf(`${at}.sideEffects`, hook.sideEffects, ["None", "NoneOnDryRun"])
      : [required(`${at}.sideEffects`, "must specify one of None, NoneOnDryRun")]),
  );
  const seconds = hook.timeoutSeconds;
  if (seconds !== undefined && (seconds < 1 || seconds > 30))
    errors.push(invalid(`${at}.timeoutSeconds`, seconds, "the timeout value must be between 1 and 30 seconds"));
  errors.push(...validateLabelSelector(hook.namespaceSelector, `${at}.namespaceSelector`));
  errors.push(...validateLabelSelector(hook.objectSelector, `${at}.objectSelector`));
  errors.push(...validateClientConfig(hook.clientConfig, `${at}.clientConfig`));
  if (versions.length === 0) errors.push(required(`${at}.admissionReviewVersions`, "must specify one of v1, v1beta1"));
  else if (!versions.includes("v1") && !versions.includes("v1beta1"))
    errors.push(invalid(`${at}.admissionReviewVersions`, versions, "must include at least one of v1, v1beta1"));
  errors.push(
    ...each(versions, `${at}.admissionReviewVersions`, (version, here, index) => [
      ...named(here, version, isDns1035Label),
      ...(versions.indexOf(version) < index ? [invalid(here, version, "duplicate version")] : []),
    ]),
  );
  if ("reinvocationPolicy" in hook)
    errors.push(...oneOf(`${at}.reinvocationPolicy`, hook.reinvocationPolicy, ["IfNeeded", "Never"]));
  return [...errors, ...validateMatchConditions(hook.matchConditions, `${at}.matchConditions`)];
}

export function validateWebhooks(object: KubeObject): FieldError[] {
  const names = new Set<string>();
  return each((object as k8s.ValidatingWebhookConfiguration).webhooks, "webhooks", (hook, at) => {
    const errors = validateWebhook(hook, at);
    if (names.has(hook.name)) errors.push(duplicate(`${at}.name`, hook.name));
    names.add(hook.name);
    return errors;
  });
}

function validateMatch(match: k8s.MatchResources, at: string): FieldError[] {
  return [
    ...oneOf(`${at}.matchPolicy`, match.matchPolicy, ["Equivalent", "Exact"]),
    ...validateLabelSelector(match.namespaceSelector, `${at}.namespaceSelector`),
    ...validateLabelSelector(match.objectSelector, `${at}.objectSelector`),
    ...each(match.resourceRules, `${at}.resourceRules`, validateRule),
    ...each(match.excludeResourceRules, `${at}.excludeResourceRules`, validateRule),
  ];
}

const reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];

export function validatePolicy(object: KubeObject): FieldError[] {
  const spec = (object as k8s.ValidatingAdmissionPolicy).spec ?? {};
  const match = spec.matchConstraints;
  const errors: FieldError[] = [];
  if (spec.paramKind !== undefined) {
    const { apiVersion, kind } = spec.paramKind;
    if (!apiVersion) errors.push(required("spec.paramKind.apiVersion"));
    if (!kind) errors.push(required("spec.paramKind.kind"));
  }
  if (match === undefined) errors.push(required("spec.matchConstraints"));
  else {
    if ((match.resourceRules ?? []).length === 0) errors.push(required("spec.matchConstraints.resourceRules"));
    errors.push(...validateMatch(match, "spec.matchConstraints"));
  }
  errors.push(...validateMatchConditions(spec.matchConditions, "spec.matchConditions"));
  errors.push(...validateVariables(spec.variables, "spec.variables"));
  if ((spec.validations ?? []).length === 0 && (spec.auditAnnotations ?? []).length === 0)
    for (const field of ["validations", "auditAnnotations"])
      errors.push(required(`spec.${field}`, "validations or auditAnnotations must contain at least one item"));
  errors.push(
    ...each(spec.validations, "spec.validations", ({ expression, reason }, at) => [
      ...(expression?.trim() ? [] : [required(`${at}.expression`, "expression is not specified")]),
      ...oneOf(`${at}.reason`, reason, reasons),
    ]),
    ...validateAnnotationKeys(spec.auditAnnotations, object.metadata.name ?? ""),
  );
  return [...errors, ...oneOf("spec.failurePolicy", spec.failurePolicy, ["Fail", "Ignore"])];
}

function validateVariables(variables: readonly k8s.Variable[] | undefined, at: string): FieldError[] {
  const names = new Set<string>();
  return each(variables, at, ({ name, expression }, here) => {
    const errors: FieldError[] = [];
    if (!name) errors.push(required(`${here}.name`, "name is not specified"));
    else if (!/^[_a-zA-Z][_a-zA-Z0-9]*$/.test(name))
      errors.push(invalid(`${here}.name`, name, "name is not a valid CEL identifier"));
    if (names.has(name)) errors.push(duplicate(`${here}.name`, name));
    names.add(name);
    if (!expression?.trim()) errors.push(required(`${here}.expression`, "expression is not specified"));
    return errors;
  });
}

function validateAnnotationKeys(annotations: readonly k8s.AuditAnnotation[] | undefined, policy: string): FieldError[] {
  const keys = new Set<string>();
  return each(annotations, "spec.auditAnnotations", ({ key, valueExpression }, at) => {
    const errors = requiredName(`${at}.key`, key, () => isQualifiedName(`${policy}/${key}`));
    if (!valueExpression?.trim()) errors.push(required(`${at}.valueExpression`, "valueExpression is not specified"));
    if (keys.has(key)) errors.push(duplicate(`${at}.key`, key));
    keys.add(key);
    return errors;
  });
}

const actions = ["Audit", "Deny", "Warn"];

export function validateBinding(object: KubeObject): FieldError[] {
  const spec = (object as k8s.ValidatingAdmissionPolicyBinding).spec ?? {};
  const given = spec.validationActions ?? [];
  const errors = requiredName("spec.policyName", spec.policyName, isDns1123Subdomain);
  if (spec.paramRef !== undefined) {
    const { name, selector, parameterNotFoundAction } = spec.paramRef;
    if (name && selector) errors.push(forbidden("spec.paramRef.name", "name and selector are mutually exclusive"));
    else if (!name && !selector) errors.push(required("spec.paramRef", "one of name or selector must be specified"));
    errors.push(
      ...(parameterNotFoundAction
        ? oneOf("spec.paramRef.parameterNotFoundAction", parameterNotFoundAction, ["Allow", "Deny"])
        : [required("spec.paramRef.parameterNotFoundAction")]),
    );
  }
  if (spec.matchResources !== undefined) errors.push(...validateMatch(spec.matchResources, "spec.matchResources"));
  if (given.length === 0) errors.push(required("spec.validationActions", "at least one validation action is required"));
  errors.push(
    ...each(given, "spec.validationActions", (action, at, index) => [
      ...oneOf(at, action, actions),
      ...(given.indexOf(action) < index ? [duplicate(at, action)] : []),
    ]),
  );
  if (given.includes("Deny") && given.includes("Warn"))
    errors.push(
      invalid(
        "spec.validationActions",
        given,
        "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
      ),
    );
  return errors;
}
