import { hasCode } from "../../base/index.ts";
import { keyOf, resources, type Stored } from "../../client/index.ts";
import type { k8s } from "../../api/index.ts";
import type { Controller } from "../controller.ts";

type Secret = Stored<k8s.Secret>;

const TYPE = "bootstrap.kubernetes.io/token";

/** Deletes bootstrap tokens that have expired. https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/ */
export const tokenCleaner: Controller = {
  name: "token-cleaner",
  setup(context) {
    const secrets = context.informer(resources.secrets);
    const consider = (secret: Secret) => {
      if (secret.type === TYPE && secret.metadata.namespace === "kube-system") context.enqueue(keyOf(secret));
    };
    secrets.onChange({ added: consider, updated: consider });
    return {
      async reconcile(key, signal) {
        const secret = secrets.get(key);
        const expiration = secret?.data?.["expiration"];
        if (!secret || !expiration) return;
        const leftMs = Date.parse(Buffer.from(expiration, "base64").toString("utf8")) - context.clock.nowMs();
        if (leftMs > 0) return { requeueAfterMs: leftMs };
        const { uid, resourceVersion } = secret.metadata;
        try {
          await context.client
            .of(resources.secrets)
            .delete(secret.metadata, { preconditions: { uid, resourceVersion }, signal });
        } catch (error) {
          if (!hasCode(error, "notFound")) throw error;
        }
      },
    };
  },
};
