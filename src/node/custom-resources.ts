import { hasCode, unavailable, type Clock } from "../base/index.ts";
import { defineResource, type KubeClient, type Resource } from "../client/index.ts";
import type { k8s } from "../api/index.ts";

const SERVED_POLL_MS = 100;
const SERVED_TRIES = 300;

const definitionResource = defineResource<k8s.CustomResourceDefinition>(
  "apiextensions.k8s.io/v1",
  "customresourcedefinitions",
  "CustomResourceDefinition",
  false,
);

export interface CustomResources {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly definitions: readonly k8s.CustomResourceDefinition[];
  readonly resources: readonly Resource[];
  /** Before a new cluster gets them: what it starts with comes first. */
  readonly firstAfterMs: number;
}

/** Defines resources unless somebody has defined them already. Resolves when they are served. */
export async function installResources(
  { client, clock, definitions, resources, firstAfterMs }: CustomResources,
  signal: AbortSignal,
): Promise<void> {
  if (!(await isServed(client, resources[0]!))) await clock.sleep(firstAfterMs, signal);
  for (const definition of definitions)
    await client
      .of(definitionResource)
      .create(definition)
      .catch((error: unknown) => {
        if (!hasCode(error, "alreadyExists")) throw error;
      });
  for (const resource of resources) {
    for (let tries = 0; !(await isServed(client, resource)); tries++) {
      if (tries >= SERVED_TRIES) throw unavailable(`${resource.plural}.${resource.group} is defined and not served`);
      await clock.sleep(SERVED_POLL_MS, signal);
    }
  }
}

async function isServed(client: KubeClient, resource: Resource): Promise<boolean> {
  try {
    await client.of(resource).list({ limit: 1 });
    return true;
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
    return false;
  }
}
