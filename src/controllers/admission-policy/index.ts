import type { k8s } from "../../api/index.ts";
import { defineResource } from "../../client/index.ts";
import type { Controller } from "../controller.ts";

const policies = defineResource<k8s.ValidatingAdmissionPolicy>(
  "admissionregistration.k8s.io/v1",
  "validatingadmissionpolicies",
  "ValidatingAdmissionPolicy",
  false,
);

/** Says in a policy's status what its expressions get wrong about the types of objects that it is about. */
export const admissionPolicyStatusController: Controller = {
  name: "validatingadmissionpolicy-status-controller",
  workers: 1,
  setup(context) {
    const informer = context.informer(policies);
    const enqueue = ({ metadata }: { metadata: { name: string } }) => context.enqueue(metadata.name);
    informer.onChange({ added: enqueue, updated: enqueue });
    return {
      async reconcile(name, signal) {
        const policy = informer.get(name);
        if (!policy || policy.status?.observedGeneration === policy.metadata.generation) return;
        // A cluster without policies needs neither the checker nor what it checks against.
        const [{ typeCheck }, { PublishedSchemas }] = await Promise.all([
          import("./type-check.ts"),
          import("./schemas.ts"),
        ]);
        const expressionWarnings = await typeCheck(policy, new PublishedSchemas(context.client, signal));
        const typeChecking = expressionWarnings.length === 0 ? {} : { expressionWarnings };
        const status = { ...policy.status, observedGeneration: policy.metadata.generation, typeChecking };
        await context.client.of(policies).updateStatus({ ...policy, status }, { signal });
      },
    };
  },
};
