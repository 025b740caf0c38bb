import type { k8s, KubeObject } from "../../api/index.ts";
import { messageOf, randomUuid } from "../../base/index.ts";
import type { Logger, Random } from "../../base/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Admission, AdmissionRequest } from "../machinery/pipeline.ts";
import { statusError } from "../machinery/status.ts";
import { callWebhook } from "../webhook-client.ts";
import { ruleMatches, selectorsMatch } from "./webhook-match.ts";

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

/**
 * Admission webhooks (https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/): mutating ones one after
 * another, by configuration and then by place; validating ones side by side.
 */
export function webhooks(
  state: ClusterState,
  random: Random,
  log: Logger,
): { mutating: Admission; validating: Admission } {
  const matching = async (
    configurations: readonly {
      webhooks?: readonly (k8s.MutatingWebhook | k8s.ValidatingWebhook)[];
      metadata: k8s.ObjectMeta;
    }[],
    request: AdmissionRequest,
  ): Promise<Hook[]> => {
    // Nothing may stand between an administrator and a webhook that refuses everything.
    if (request.resource.group === ownGroup) return [];
    const hooks = configurations
      .toSorted((a, b) => (a.metadata.name! < b.metadata.name! ? -1 : 1))
      .flatMap((configuration) => (configuration.webhooks ?? []) as Hook[])
      .filter((hook) => (hook.rules ?? []).some((rule) => ruleMatches(rule, request)));
    const selected = await Promise.all(
      hooks.map(async (hook) => (await selectorsMatch(state, request, hook)) && conditionsHold(hook, request)),
    );
    return hooks.filter((_hook, index) => selected[index]);
  };
  const ask = (hook: Hook, request: AdmissionRequest) => askOne(state, random, log, hook, request);
  return {
    mutating: {
      async mutate(request) {
        const configurations = (state.mutatingWebhooks.now ?? (await state.mutatingWebhooks.ready())).list();
        if (configurations.length === 0) return;
        const hooks = await matching(configurations, request);
        /** The object as each webhook left it: who sees another one later on may be asked again. */
        const left = new Map<Hook, string>();
        const askAndPatch = async (hook: Hook) => {
          const answer = await ask(hook, request);
          if (answer?.patch !== undefined && request.object !== undefined)
            request.object = await applyPatch(request.object, answer.patch, hook.name);
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
        await Promise.all((await matching(configurations, request)).map((hook) => ask(hook, request)));
      },
    },
  };
}

/** https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-matchconditions */
async function conditionsHold(hook: Hook, request: AdmissionRequest): Promise<boolean> {
  const { matchConditions = [], failurePolicy, name } = hook;
  if (matchConditions.length === 0) return true;
  const { evaluate, policyVariables } = await import("./policy-variables.ts");
  const variables = policyVariables(request, {}, undefined, undefined);
  let problem: string | undefined;
  for (const { expression } of matchConditions) {
    try {
      // One that is false decides, whatever went wrong with the others.
      if (evaluate(expression, variables) !== true) return false;
    } catch (error) {
      problem ??= messageOf(error).split("\n")[0];
    }
  }
  if (problem === undefined) return true;
  if (failurePolicy === "Ignore") return false;
  throw statusError("permissionDenied", {
    message: `admission webhook ${JSON.stringify(name)}: match condition failed: ${problem}`,
  });
}

/** The answer of a webhook that allows; undefined when it could not be asked and may be ignored. Throws its refusal. */
async function askOne(
  state: ClusterState,
  random: Random,
  log: Logger,
  hook: Hook,
  request: AdmissionRequest,
): Promise<Answer | undefined> {
  if (request.dryRun && hook.sideEffects !== "None" && hook.sideEffects !== "NoneOnDryRun")
    throw statusError("invalidArgument", {
      message: `admission webhook "${hook.name}" does not support dry run`,
    });
  const uid = randomUuid(random);
  let answer: Answer | undefined;
  try {
    const review = { apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request: reviewOf(request, uid) };
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

function reviewOf(request: AdmissionRequest, uid: string): object {
  const { kind, resource, subresource, name, namespace, operation, user, object, oldObject, dryRun, options } = request;
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
    requestKind: kind,
    requestResource: resource,
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
