import type { k8s } from "../../api/index.ts";
import { messageOf, rfc3339 } from "../../base/index.ts";
import { defineResource, resources, type Stored } from "../../client/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";

type Request = Stored<k8s.CertificateSigningRequest>;

const BUILT_IN = new Set([
  "kubernetes.io/kube-apiserver-client",
  "kubernetes.io/kube-apiserver-client-kubelet",
  "kubernetes.io/kubelet-serving",
]);
const KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet";
const NODE_USER = "system:node:";

const HOUR_MS = 3_600_000;
/** Upstream's cleaner: how long approved, denied and forgotten requests stay. */
const KEEP_MS = { approved: HOUR_MS, denied: HOUR_MS, pending: 24 * HOUR_MS };

const conditionOf = (request: Request, type: string) =>
  request.status?.conditions?.find((condition) => condition.type === type);

function onRequests(context: ControllerContext): void {
  const enqueue = (request: Request) => context.enqueue(request.metadata.name);
  context.informer(resources.certificateSigningRequests).onChange({ added: enqueue, updated: enqueue });
}

const accessReviews = defineResource<k8s.SubjectAccessReview>(
  "authorization.k8s.io/v1",
  "subjectaccessreviews",
  "SubjectAccessReview",
  false,
);

/** Whether who asks for a certificate may have one without anybody's looking at it: the authorizers say so. */
async function mayHave(
  { client }: ControllerContext,
  { username, uid, groups, extra }: k8s.CertificateSigningRequestSpec,
  subresource: string,
  signal: AbortSignal,
): Promise<boolean> {
  const group = "certificates.k8s.io";
  const resourceAttributes = {
    group,
    resource: "certificatesigningrequests",
    verb: "create",
    subresource,
    version: "*",
  };
  const spec = { user: username, uid, groups, extra, resourceAttributes };
  const { status } = await client.of(accessReviews).create({ spec } as k8s.SubjectAccessReview, { signal });
  return status?.allowed === true;
}

/** Approves the client certificates that kubelets ask for: a joining machine's first, and a node's renewal of its own. */
export const certificateApprovingController: Controller = {
  name: "certificate-controller",
  component: "csrapproving",
  setup(context) {
    onRequests(context);
    return {
      async reconcile(name, signal) {
        const request = context.informer(resources.certificateSigningRequests).get(name);
        if (!request || request.spec?.signerName !== KUBELET_CLIENT || request.status?.conditions?.length) return;
        const isNode = request.spec.username?.startsWith(NODE_USER) && request.spec.groups?.includes("system:nodes");
        if (!(await mayHave(context, request.spec, isNode ? "selfnodeclient" : "nodeclient", signal))) return;
        const message = isNode
          ? "Auto approving self kubelet client certificate after SubjectAccessReview."
          : "Auto approving kubelet client certificate after SubjectAccessReview.";
        const now = rfc3339(context.clock.nowMs());
        const condition = {
          type: "Approved",
          status: "True",
          reason: "AutoApproved",
          message,
          lastUpdateTime: now,
          lastTransitionTime: now,
        };
        const status = { ...request.status, conditions: [condition] };
        await context.client
          .of(resources.certificateSigningRequests)
          .update({ ...request, status }, { subresource: "approval", signal });
      },
    };
  },
};

/** Signs what has been approved, with the cluster's CA. */
export const certificateSigningController: Controller = {
  name: "certificate-controller",
  component: "csrsigning",
  setup(context) {
    onRequests(context);
    return {
      async reconcile(name, signal) {
        const request = context.informer(resources.certificateSigningRequests).get(name);
        const { signer } = context.settings;
        if (!signer || !request || request.status?.certificate || !BUILT_IN.has(request.spec?.signerName ?? "")) return;
        if (!conditionOf(request, "Approved") || conditionOf(request, "Failed") || conditionOf(request, "Denied"))
          return;
        const client = context.client.of(resources.certificateSigningRequests);
        const { request: csr, usages = [], expirationSeconds, signerName } = request.spec!;
        const csrPem = Buffer.from(csr, "base64").toString("utf8");
        try {
          const pem = await signer.sign({ csrPem, usages, expirationSeconds, signerName });
          const certificate = Buffer.from(pem).toString("base64");
          await client.updateStatus({ ...request, status: { ...request.status, certificate } }, { signal });
        } catch (error) {
          if (signal.aborted) throw error;
          const now = rfc3339(context.clock.nowMs());
          const condition = {
            type: "Failed",
            status: "True",
            reason: "SignerValidationFailure",
            message: messageOf(error),
            lastUpdateTime: now,
            lastTransitionTime: now,
          };
          const conditions = [...(request.status?.conditions ?? []), condition];
          await client.updateStatus({ ...request, status: { ...request.status, conditions } }, { signal });
        }
      },
    };
  },
};

/** Removes old requests. */
export const certificateCleaner: Controller = {
  name: "certificate-controller",
  component: "csrcleaner",
  setup(context) {
    onRequests(context);
    return {
      async reconcile(name, signal) {
        const request = context.informer(resources.certificateSigningRequests).get(name);
        if (!request) return;
        const decided = conditionOf(request, "Approved")
          ? "approved"
          : conditionOf(request, "Denied") || conditionOf(request, "Failed")
            ? "denied"
            : "pending";
        const since = request.status?.conditions?.[0]?.lastUpdateTime ?? request.metadata.creationTimestamp ?? "";
        const leftMs = Date.parse(since) + KEEP_MS[decided] - context.clock.nowMs();
        if (leftMs > 0) return { requeueAfterMs: leftMs };
        await context.client.of(resources.certificateSigningRequests).delete(request.metadata, { signal });
      },
    };
  },
};
