import type { k8s, KubeObject } from "../../api/index.ts";
import { internal } from "../../base/index.ts";
import type { Conversion } from "../machinery/kind.ts";

/** Calls a webhook with a review and gives back its answer. */
export type Caller = (config: k8s.ApiextensionsWebhookClientConfig, review: object) => Promise<Record<string, unknown>>;

/** Between a version and the stored one: by name alone (`None`), or as a webhook says. */
export function conversionFor(
  definition: k8s.CustomResourceDefinition,
  version: string,
  call: Caller,
  newUid: () => string,
): Conversion {
  const { group, versions, conversion } = definition.spec;
  const stored = versions.find(({ storage }) => storage)!.name;
  const to =
    (target: string) =>
    async (objects: readonly KubeObject[]): Promise<readonly KubeObject[]> => {
      const apiVersion = `${group}/${target}`;
      const config = conversion?.strategy === "Webhook" ? conversion.webhook?.clientConfig : undefined;
      if (config === undefined)
        return objects.map((object) => (object.apiVersion === apiVersion ? object : { ...object, apiVersion }));
      return convertByWebhook(config, objects, apiVersion, call, newUid());
    };
  return { toStorage: to(stored), fromStorage: to(version) };
}

async function convertByWebhook(
  config: k8s.ApiextensionsWebhookClientConfig,
  objects: readonly KubeObject[],
  desiredAPIVersion: string,
  call: Caller,
  uid: string,
): Promise<readonly KubeObject[]> {
  const wanted = objects.filter(({ apiVersion }) => apiVersion !== desiredAPIVersion);
  if (wanted.length === 0) return objects;
  const review = {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "ConversionReview",
    request: { uid, desiredAPIVersion, objects: wanted },
  };
  const { response } = (await call(config, review)) as { response?: ConversionResponse };
  const fail = (why: string) => internal(`conversion webhook for ${objects[0]?.kind} failed: ${why}`);
  if (response?.uid !== uid) throw fail("expected response.uid to be that of the request");
  if (response.result?.status !== "Success") throw fail(response.result?.message ?? "no reason given");
  const converted = response.convertedObjects ?? [];
  if (converted.length !== wanted.length) throw fail(`returned ${converted.length} objects, expected ${wanted.length}`);
  let next = 0;
  return objects.map((object) =>
    object.apiVersion === desiredAPIVersion ? object : restore(converted[next++]!, object),
  );
}

interface ConversionResponse {
  uid?: string;
  result?: { status?: string; message?: string };
  convertedObjects?: KubeObject[];
}

/** Of metadata a webhook may change labels and annotations only. */
const restore = (converted: KubeObject, original: KubeObject): KubeObject => ({
  ...converted,
  metadata: {
    ...original.metadata,
    labels: converted.metadata.labels,
    annotations: converted.metadata.annotations,
  },
});
