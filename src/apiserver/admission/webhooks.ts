import type { k8s, KubeObject } from "../../api/index.ts";
import { messageOf, randomUuid } from "../../base/index.ts";
import type { Logger, Random } from "../../base/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Kind } from "../machinery/kind.ts";
import type { Admission, AdmissionRequest, Authorizer } from "../machinery/pipeline.ts";
import { statusError } from "../machinery/status.ts";
import { callWebhook } from "../webhook-client.ts";
import type { Matched } from "./equivalents.ts";
import { refuse } from "./plugin.ts";
import { matchRules, selectorsMatch } from "./webhook-match.ts";

type Hook = k8s.MutatingWebhook & k8s.ValidatingWebhook;
const ownGroup = "admissionregistration.k8s.io";

interface Answer {
  uid?: string;
  allowed?: boolean;
  status?: { message?: string; code?: number; reason?: string };
  patch?: string;
  patchType?: string;
  warnings?: string[];
  auditAnnotations?: Record<string, string>;
}

interface Context {
  readonly state: ClusterState;
  readonly random: Random;
  readonly log: Logger;
  /** Every kind that is served now: custom ones come and go. */
  readonly kinds: () => readonly Kind[];
  readonly authorizers: readonly Authorizer[];
}

type Configuration = k8s.ValidatingWebhookConfiguration | k8s.MutatingWebhookConfiguration;

/**
 * Admission webhooks (https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/): mutating ones one after
 * another, by configuration and then by place; validating ones side by side.
 */
export function webhooks(context: Context): { mutating: Admission; validating: Admission } {
  const { state } = context;
  return {
    mutating: {
      async mutate(request) {
        const configurations = (state.mutatingWebhooks.now ?? (await state.mutatingWebhooks.ready())).list();
        if (configurations.length === 0) return;
        const hooks = hooksOf(configurations, request);
        /** The object as each webhook left it: who sees another one later on may be asked again. */
        const left = new Map<Hook, string>();
        const askAndPatch = async (hook: Hook) => {
          const matched = await matching(context, hook, request);
          if (matched === undefined) return;
          const answer = await askOne(context, hook, request, matched);
          if (answer?.patch !== undefined && matched.object !== undefined)
            request.object = await matched.back(await applyPatch(matched.object, answer.patch, hook.name));
          if (hook.reinvocationPolicy === "IfNeeded") left.set(hook, JSON.stringify(request.object));
        };
        for (const hook of hooks) await askAndPatch(hook);
        for (const [hook, text] of left) if (JSON.stringify(request.object) !== text) await askAndPatch(hook);
      },
    },
    validating: {
      async validate(request) {
        const configurations = (state.validatingWebhooks.now ?? (await state.validatingWebhooks.ready())).list();
        if (configurations.length === 0) return;
        await Promise.all(
          hooksOf(configurations, request).map(async (hook) => {
            const matched = await matching(context, hook, request);
            if (matched !== undefined) await askOne(context, hook, request, matched);
          }),
        );
      },
    },
  };
}

/** Nothing may stand between an administrator and a webhook that refuses everything. */
function hooksOf(configurations: readonly Configuration[], { resource }: AdmissionRequest): Hook[] {
  if (resource.group === ownGroup) return [];
  return configurations
    .toSorted((a, b) => (a.metadata.name! < b.metadata.name! ? -1 : 1))
    .flatMap((configuration) => (configuration.webhooks ?? []) as Hook[]);
}

/** The request as the webhook wants to see it, undefined when it is not asked. */
async function matching(context: Context, hook: Hook, request: AdmissionRequest): Promise<Matched | undefined> {
  const matched = await matchRules(context.kinds, request, hook.rules ?? [], hook.matchPolicy);
  if (matched === undefined || !(await selectorsMatch(context.state, request, hook))) return undefined;
  return (await conditionsHold(context, hook, request, matched)) ? matched : undefined;
}

async function conditionsHold(
  { authorizers }: Context,
  { matchConditions = [], failurePolicy }: Hook,
  request: AdmissionRequest,
  matched: Matched,
): Promise<boolean> {
  if (matchConditions.length === 0) return true;
  const [{ Expressions }, { Budget, PER_MATCH_CONDITIONS }] = await Promise.all([
    import("./policy-variables.ts"),
    import("../../cel/index.ts"),
  ]);
  const expressions = new Expressions({ request, matched, authorizers });
  try {
    return await expressions.allHold(matchConditions, new Budget(PER_MATCH_CONDITIONS));
  } catch (error) {
    if (failurePolicy === "Ignore") return false;
    throw refuse(request, messageOf(error));
  }
}

/** The answer of a webhook that allows; undefined when it could not be asked and may be ignored. Throws its refusal. */
async function askOne(
  { state, random, log }: Context,
  hook: Hook,
  request: AdmissionRequest,
  matched: Matched,
): Promise<Answer | undefined> {
  if (request.dryRun && hook.sideEffects !== "None" && hook.sideEffects !== "NoneOnDryRun")
    throw statusError("invalidArgument", {
      message: `admission webhook "${hook.name}" does not support dry run`,
    });
  const uid = randomUuid(random);
  let answer: Answer | undefined;
  try {
    const review = {
      apiVersion: "admission.k8s.io/v1",
      kind: "AdmissionReview",
      request: reviewOf(request, matched, uid),
    };
    const reply = await callWebhook(state, hook.clientConfig, review, (hook.timeoutSeconds ?? 10) * 1000);
    answer = reply["response"] as Answer | undefined;
    if (answer?.uid !== uid) throw new Error(`expected response.uid="${uid}", got "${answer?.uid ?? ""}"`);
  } catch (error) {
    if (hook.failurePolicy === "Ignore") {
      log.warn("an admission webhook failed and is ignored", { webhook: hook.name, error: messageOf(error) });
      return undefined;
    }
    throw statusError("internal", {
      message: `Internal error occurred: failed calling webhook "${hook.name}": failed to call webhook: ${messageOf(error)}`,
    });
  }
  for (const warning of answer.warnings ?? []) request.warn(warning);
  for (const [key, value] of Object.entries(answer.auditAnnotations ?? {}))
    request.annotate(`${hook.name}/${key}`, value);
  if (answer.allowed !== true) throw refusal(hook.name, answer);
  return answer;
}

function refusal(name: string, { status }: Answer) {
  const why = status?.message
    ? `denied the request: ${status.message}`
    : `denied the request${status?.reason ? `: ${status.reason}` : " without explanation"}`;
  const code = status?.code !== undefined && status.code >= 400 ? status.code : 403;
  return statusError("permissionDenied", {
    message: `admission webhook ${JSON.stringify(name)} ${why}`,
    code,
    reason: status?.reason ?? (code === 403 ? "Forbidden" : undefined),
  });
}

function reviewOf(request: AdmissionRequest, matched: Matched, uid: string): object {
  const { subresource, name, namespace, operation, user, dryRun, options } = request;
  const { kind, resource, object, oldObject } = matched;
  const userInfo = { username: user.name, uid: user.uid, groups: user.groups, extra: user.extra };
  const withoutEmpty = {
    ...(subresource === "" ? {} : { subResource: subresource, requestSubResource: subresource }),
    ...(name === "" ? {} : { name }),
    ...(namespace === "" ? {} : { namespace }),
  };
  return {
    ...withoutEmpty,
    uid,
    kind,
    resource,
    requestKind: request.kind,
    requestResource: request.resource,
    operation,
    userInfo,
    object: object ?? null,
    oldObject: oldObject ?? null,
    dryRun,
    options,
  };
}

async function applyPatch(object: KubeObject, patch: string, webhook: string): Promise<KubeObject> {
  const { applyPatch: apply } = await import("rfc6902");
  const copy = structuredClone(object);
  const operations = JSON.parse(Buffer.from(patch, "base64").toString()) as Parameters<typeof apply>[1];
  const failed = apply(copy, operations).find((result) => result !== null);
  if (failed === undefined) return copy;
  throw statusError("internal", {
    message: `Internal error occurred: the patch of admission webhook ${JSON.stringify(webhook)} does not apply: ${messageOf(failed)}`,
  });
}
