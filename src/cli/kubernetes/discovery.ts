import { notFound } from "../../base/index.ts";
import { defineResource, type AnyObject, type KubeClient, type Resource } from "../../client/index.ts";

/** A resource as the cluster itself lists it, custom ones too. */
export interface Found {
  readonly resource: Resource;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
}

interface DiscoveryList {
  readonly items: ReadonlyArray<{
    metadata: { name?: string };
    versions: ReadonlyArray<{
      version: string;
      resources: ReadonlyArray<{
        resource: string;
        responseKind: { kind: string };
        scope: "Namespaced" | "Cluster";
        singularResource: string;
        shortNames?: string[];
        categories?: string[];
      }>;
    }>;
  }>;
}

/** Aggregated discovery (https://kubernetes.io/docs/concepts/overview/kubernetes-api/#aggregated-discovery): two requests for everything. */
export async function discover(client: KubeClient): Promise<Found[]> {
  const lists = await Promise.all(
    ["/api", "/apis"].map(async (path) => {
      const accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
      const response = await client.send({ method: "GET", path, headers: { accept } });
      return JSON.parse(Buffer.from(response.body!).toString()) as DiscoveryList;
    }),
  );
  return lists.flatMap(({ items }) =>
    items.flatMap(({ metadata, versions }) =>
      versions.flatMap(({ version, resources }) =>
        resources.map((one) => ({
          resource: defineResource<AnyObject>(
            metadata.name ? `${metadata.name}/${version}` : version,
            one.resource,
            one.responseKind.kind,
            one.scope === "Namespaced",
          ),
          singular: one.singularResource,
          shortNames: one.shortNames ?? [],
          categories: one.categories ?? [],
        })),
      ),
    ),
  );
}

/** `deploy`, `deployment`, `deployments`, `Deployment`, `deployments.apps`: the first in the server's order of preference. */
export function findResource(all: readonly Found[], word: string): Resource {
  const [name = "", ...rest] = word.toLowerCase().split(".");
  const group = rest.join(".");
  const found = all.find(
    ({ resource, singular, shortNames }) =>
      [resource.plural, singular, resource.kind.toLowerCase(), ...shortNames].includes(name) &&
      (group === "" || resource.group === group || resource.group.startsWith(`${group}.`)),
  );
  if (!found) throw notFound(`the cluster has no resource type "${word}"`);
  return found.resource;
}

/** `all` and other categories stand for several types. */
export function findResources(all: readonly Found[], words: string): Resource[] {
  return words.split(",").flatMap((word) => {
    const members = all.filter(({ categories }) => categories.includes(word));
    return members.length > 0 ? members.map(({ resource }) => resource) : [findResource(all, word)];
  });
}

export function resourceOfKind(all: readonly Found[], object: AnyObject): Resource {
  const { apiVersion = "", kind = "" } = object;
  const found = all.find(
    ({ resource }) =>
      resource.kind === kind &&
      (resource.group === "" ? resource.version : `${resource.group}/${resource.version}`) === apiVersion,
  );
  if (!found) throw notFound(`the cluster has no kind "${kind}" in version "${apiVersion}"`);
  return found.resource;
}

/** `deployment.apps/web`, as kubectl names an object. */
export function nameOf(resource: Resource, name: string): string {
  const type = resource.kind.toLowerCase();
  return `${resource.group === "" ? type : `${type}.${resource.group}`}/${name}`;
}
