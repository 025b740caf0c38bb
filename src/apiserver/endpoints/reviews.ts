import type { ApiRequest, k8s, KubeObject, UserInfo } from "../../api/index.ts";
import { hasCode } from "../../base/index.ts";
import type { RbacAuthorizer } from "../authz/index.ts";
import { decide } from "../machinery/authorize.ts";
import type { AuthorizationAttributes, Authenticator, Authorizer, Endpoint } from "../machinery/pipeline.ts";
import { invalidError } from "../machinery/status.ts";
import { answering, withStatus } from "./endpoint.ts";

const authorization = { group: "authorization.k8s.io", subresource: "" };
const authentication = { group: "authentication.k8s.io", subresource: "" };

interface ReviewOptions {
  readonly authenticators: readonly Authenticator[];
  readonly authorizers: readonly Authorizer[];
  readonly rbac: RbacAuthorizer;
  /** Tokens meant for others than the server: by audience. */
  verifyFor?(
    token: string,
    audiences: readonly string[],
  ): Promise<{ user: UserInfo; audiences: readonly string[] } | undefined>;
}

/** May they, may I, what may I, who am I, whose token is this (authorization.k8s.io and authentication.k8s.io). */
export function reviewEndpoints(options: ReviewOptions): Endpoint[] {
  const access = (
    kind: string,
    resource: string,
    namespaced: boolean,
    userOf: (spec: k8s.SubjectAccessReviewSpec, caller: UserInfo) => UserInfo,
  ) =>
    answering(
      { ...authorization, resource, namespaced, kind: `authorization.k8s.io/v1/${kind}` },
      async (call, tools) => {
        const object = await tools.decode(call);
        const spec = (object["spec"] ?? {}) as k8s.SubjectAccessReviewSpec;
        assertOneKind(spec, kind);
        const attributes = attributesOf(spec, userOf(spec, call.user));
        return withStatus(object, await decide(options.authorizers, attributes));
      },
    );
  const named = (spec: k8s.SubjectAccessReviewSpec): UserInfo => ({
    name: spec.user ?? "",
    uid: spec.uid,
    groups: spec.groups ?? [],
    extra: spec.extra,
  });
  return [
    access("SubjectAccessReview", "subjectaccessreviews", false, named),
    access("LocalSubjectAccessReview", "localsubjectaccessreviews", true, named),
    access("SelfSubjectAccessReview", "selfsubjectaccessreviews", false, (_spec, caller) => caller),
    rulesReview(options.rbac),
    selfReview,
    tokenReview(options),
  ];
}

function assertOneKind(spec: k8s.SubjectAccessReviewSpec, kind: string): void {
  if ((spec.resourceAttributes === undefined) !== (spec.nonResourceAttributes === undefined)) return;
  const detail =
    spec.resourceAttributes === undefined
      ? "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
      : "Invalid value: null: cannot be specified in combination with resourceAttributes";
  const field = spec.resourceAttributes === undefined ? "spec.resourceAttributes" : "spec.nonResourceAttributes";
  throw invalidError({ group: "authorization.k8s.io", kind }, "", [{ type: "FieldValueInvalid", field, detail }]);
}

function attributesOf(spec: k8s.SubjectAccessReviewSpec, user: UserInfo): AuthorizationAttributes {
  const { resourceAttributes: resource, nonResourceAttributes: other } = spec;
  return {
    user,
    isResource: resource !== undefined,
    verb: resource?.verb ?? other?.verb ?? "",
    path: other?.path ?? "",
    group: resource?.group ?? "",
    version: resource?.version ?? "",
    namespace: resource?.namespace ?? "",
    resource: resource?.resource ?? "",
    subresource: resource?.subresource ?? "",
    name: resource?.name ?? "",
    tail: "",
  };
}

const rulesReview = (rbac: RbacAuthorizer): Endpoint =>
  answering(
    {
      ...authorization,
      resource: "selfsubjectrulesreviews",
      namespaced: false,
      kind: "authorization.k8s.io/v1/SelfSubjectRulesReview",
    },
    async (call, tools) => {
      const object = await tools.decode(call);
      const { namespace = "" } = (object["spec"] ?? {}) as k8s.SelfSubjectRulesReviewSpec;
      const rules = call.user.groups.includes("system:masters")
        ? masterRules
        : await rbac.rulesFor(call.user, namespace);
      return withStatus(object, {
        resourceRules: rules
          .filter(({ resources }) => resources !== undefined)
          .map(({ verbs, apiGroups, resources, resourceNames }) => ({ verbs, apiGroups, resources, resourceNames })),
        nonResourceRules: rules
          .filter(({ nonResourceURLs }) => nonResourceURLs !== undefined)
          .map(({ verbs, nonResourceURLs }) => ({ verbs, nonResourceURLs })),
        incomplete: false,
      });
    },
  );

const masterRules: readonly k8s.PolicyRule[] = [
  { verbs: ["*"], apiGroups: ["*"], resources: ["*"] },
  { verbs: ["*"], nonResourceURLs: ["*"] },
];

const selfReview: Endpoint = answering(
  {
    ...authentication,
    resource: "selfsubjectreviews",
    namespaced: false,
    kind: "authentication.k8s.io/v1/SelfSubjectReview",
  },
  (call) =>
    Promise.resolve<KubeObject>({
      apiVersion: "authentication.k8s.io/v1",
      kind: "SelfSubjectReview",
      metadata: {},
      status: { userInfo: describe(call.user) },
    }),
);

const describe = ({ name, uid, groups, extra }: UserInfo): k8s.UserInfo => ({
  username: name,
  ...(uid === undefined ? {} : { uid }),
  groups: [...groups],
  ...(extra === undefined || Object.keys(extra).length === 0
    ? {}
    : { extra: Object.fromEntries(Object.entries(extra).map(([key, values]) => [key, [...values]])) }),
});

const tokenReview = (options: ReviewOptions): Endpoint =>
  answering(
    { ...authentication, resource: "tokenreviews", namespaced: false, kind: "authentication.k8s.io/v1/TokenReview" },
    async (call, tools) => {
      const object = await tools.decode(call);
      const { token = "", audiences = [] } = (object["spec"] ?? {}) as k8s.TokenReviewSpec;
      return withStatus(object, await reviewToken(options, token, audiences));
    },
  );

async function reviewToken(
  options: ReviewOptions,
  token: string,
  audiences: readonly string[],
): Promise<k8s.TokenReviewStatus> {
  if (audiences.length > 0) {
    const verified = await options.verifyFor?.(token, audiences);
    if (verified === undefined) return { authenticated: false };
    return {
      authenticated: true,
      user: describe(withAuthenticated(verified.user)),
      audiences: [...verified.audiences],
    };
  }
  const request: ApiRequest = {
    method: "GET",
    path: "/",
    query: new URLSearchParams(),
    headers: { authorization: `Bearer ${token}` },
  };
  for (const authenticator of options.authenticators) {
    try {
      const user = await authenticator.authenticate(request);
      if (user !== undefined) return { authenticated: true, user: describe(withAuthenticated(user)) };
    } catch (error) {
      if (!hasCode(error, "unauthenticated")) throw error;
      return { authenticated: false, error: "[invalid bearer token]" };
    }
  }
  return { authenticated: false };
}

const withAuthenticated = (user: UserInfo): UserInfo => ({
  ...user,
  groups: [...new Set([...user.groups, "system:authenticated"])],
});
