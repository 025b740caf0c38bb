import type { k8s } from "../../api/index.ts";
import { hasCode } from "../../base/index.ts";
import { keyOf, resources, type Stored } from "../../client/index.ts";
import type { Controller } from "../controller.ts";

/** Deletes finished Jobs when their ttlSecondsAfterFinished is over. */
export const ttlAfterFinishedController: Controller = {
  name: "ttl-after-finished-controller",
  setup(context) {
    const jobs = context.informer(resources.jobs);
    const consider = (job: Stored<k8s.Job>) => {
      if (job.spec?.ttlSecondsAfterFinished !== undefined) context.enqueue(keyOf(job));
    };
    jobs.onChange({ added: consider, updated: consider });
    return {
      async reconcile(key, signal) {
        const job = jobs.get(key);
        const ttl = job?.spec?.ttlSecondsAfterFinished;
        if (!job || ttl === undefined || job.metadata.deletionTimestamp) return;
        const over = job.status?.conditions?.find(
          ({ type, status }) => (type === "Complete" || type === "Failed") && status === "True",
        );
        if (!over?.lastTransitionTime) return;
        const leftMs = Date.parse(over.lastTransitionTime) + ttl * 1000 - context.clock.nowMs();
        if (leftMs > 0) return { requeueAfterMs: leftMs };
        const { uid, resourceVersion } = job.metadata;
        try {
          await context.client
            .of(resources.jobs)
            .delete(job.metadata, { propagationPolicy: "Foreground", preconditions: { uid, resourceVersion }, signal });
        } catch (error) {
          if (!hasCode(error, "notFound")) throw error;
        }
      },
    };
  },
};
