import { unauthenticated } from "../../base/index.ts";
import type { ApiRequest, UserInfo } from "../../api/index.ts";
import type {
  Authenticator,
  AuthorizationAttributes,
  AuthorizationDecision,
  Authorizer,
  RequestInfo,
} from "./pipeline.ts";
import { badRequestError, forbiddenError, statusError } from "./status.ts";

const ANONYMOUS: UserInfo = { name: "system:anonymous", groups: ["system:unauthenticated"] };
const AUTHENTICATED = "system:authenticated";

/** The caller, from whoever set it already or from the first authenticator that knows them. */
export async function authenticate(authenticators: readonly Authenticator[], request: ApiRequest): Promise<UserInfo> {
  if (request.user) return request.user;
  for (const authenticator of authenticators) {
    const user = await authenticator.authenticate(request);
    if (user) return user.name === ANONYMOUS.name ? user : withGroup(user, AUTHENTICATED);
  }
  if (request.headers["authorization"] && authenticators.length > 0)
    throw unauthenticated("Unauthorized", {
      details: { status: { code: 401, reason: "Unauthorized", message: "Unauthorized" } },
    });
  return ANONYMOUS;
}

const withGroup = (user: UserInfo, group: string): UserInfo =>
  user.groups.includes(group) ? user : { ...user, groups: [...user.groups, group] };

export function attributesOf(info: RequestInfo, user: UserInfo, query: URLSearchParams): AuthorizationAttributes {
  const labelSelector = query.get("labelSelector") ?? undefined;
  const fieldSelector = query.get("fieldSelector") ?? undefined;
  const name = info.name || (OF_MANY.has(info.verb) ? nameSelected(fieldSelector) : "");
  return { ...info, name, user, labelSelector, fieldSelector };
}

const OF_MANY: ReadonlySet<string> = new Set(["list", "watch", "deletecollection"]);

/** Who asks for a list of the one object of a name asks for that object: a node may watch a Secret of its Pods so, and rules with names apply. */
function nameSelected(fieldSelector = ""): string {
  const terms = fieldSelector.split(",").map((term) => /^metadata\.name==?([^=!]+)$/.exec(term)?.[1]);
  return terms.find((name) => name !== undefined) ?? "";
}

/** What the chain says: the first that allows or denies decides; with no allowance, the reasons of all who were asked. */
export async function decide(
  authorizers: readonly Authorizer[],
  attributes: AuthorizationAttributes,
): Promise<AuthorizationDecision> {
  const reasons: string[] = [];
  for (const authorizer of authorizers) {
    const { allowed, denied, reason } = await authorizer.authorize(attributes);
    if (allowed) return reason === undefined ? { allowed } : { allowed, reason };
    if (reason) reasons.push(reason);
    if (denied) return { allowed: false, denied, reason: reasons.join(", ") };
  }
  return reasons.length === 0 ? { allowed: false } : { allowed: false, reason: reasons.join(", ") };
}

/** Throws Forbidden in upstream's words unless somebody allows it. */
export async function authorize(
  authorizers: readonly Authorizer[],
  attributes: AuthorizationAttributes,
): Promise<void> {
  if (authorizers.length === 0) return;
  const { allowed, reason } = await decide(authorizers, attributes);
  if (!allowed) throw forbidden(attributes, reason ?? "");
}

function forbidden(attributes: AuthorizationAttributes, reason: string) {
  const { user, verb, path, group, resource, subresource, namespace, name } = attributes;
  const because = reason === "" ? "" : `: ${reason}`;
  if (!attributes.isResource) {
    const message = `forbidden: User ${JSON.stringify(user.name)} cannot ${verb} path ${JSON.stringify(path)}${because}`;
    return statusError("permissionDenied", { message, details: {} });
  }
  const what = subresource === "" ? resource : `${resource}/${subresource}`;
  const where = namespace === "" ? "at the cluster scope" : `in the namespace ${JSON.stringify(namespace)}`;
  const text = `User ${JSON.stringify(user.name)} cannot ${verb} resource ${JSON.stringify(what)} in API group ${JSON.stringify(group)} ${where}`;
  return forbiddenError({ group, plural: resource }, name, text + because);
}

/** https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation */
export async function impersonate(
  authorizers: readonly Authorizer[],
  request: ApiRequest,
  user: UserInfo,
): Promise<UserInfo | undefined> {
  const { headers } = request;
  const name = headers["impersonate-user"];
  const groups = listOf(headers["impersonate-group"]);
  const uid = headers["impersonate-uid"];
  const extraNames = Object.keys(headers).filter((header) => header.startsWith(EXTRA));
  if (name === undefined) {
    if (groups.length === 0 && uid === undefined && extraNames.length === 0) return undefined;
    throw badRequestError(`requested ${JSON.stringify(groups)} without impersonating a user`);
  }
  const may = (resource: string, wanted: string, more: Partial<AuthorizationAttributes> = {}) =>
    authorize(authorizers, { ...BLANK, user, resource, name: wanted, ...more });
  const account = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(name);
  if (account) await may("serviceaccounts", account[2]!, { namespace: account[1]! });
  else await may("users", name);
  for (const group of groups) await may("groups", group);
  if (uid !== undefined) await may("uids", uid, AUTHENTICATION);
  const extra: Record<string, string[]> = {};
  for (const header of extraNames) {
    const key = decodeURIComponent(header.slice(EXTRA.length));
    extra[key] = listOf(headers[header]);
    for (const value of extra[key]) await may("userextras", value, { ...AUTHENTICATION, subresource: key });
  }
  const implied = account ? ["system:serviceaccounts", `system:serviceaccounts:${account[1]}`] : [];
  const all = [...(groups.length > 0 ? groups : implied), ...(name === ANONYMOUS.name ? [] : [AUTHENTICATED])];
  return { name, uid, groups: [...new Set(all)], extra };
}

const EXTRA = "impersonate-extra-";
const AUTHENTICATION = { group: "authentication.k8s.io", version: "v1" };
const BLANK = {
  isResource: true,
  verb: "impersonate",
  path: "",
  group: "",
  version: "",
  namespace: "",
  subresource: "",
  tail: "",
};

/** Each header line is one value, whatever commas it holds: several are told apart by newlines (see http/request.ts). */
const listOf = (header: string | undefined) => (header === undefined ? [] : header.split("\n"));
