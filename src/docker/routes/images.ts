import { invalidArgument, type Clock } from "../../base/index.ts";
import { parsePlatform, parseReference, type Image, type ImageService, type Layer } from "../../engine/index.ts";
import { json, type DockerRequest, type Route } from "../route.ts";
import { flag, labelFilter, LIST_FILTERS, listFilter, PRUNE_FILTERS, until } from "./image-filters.ts";
import { imageInspect, imageSummary } from "./image-shapes.ts";

/** What the images group needs; the composition provides it. */
export interface ImagesBackend {
  readonly images: ImageService;
  readonly clock: Clock;
}

export function imageRoutes(backend: ImagesBackend): Route[] {
  const { images } = backend;
  return [
    { method: "GET", path: "/images/json", handle: async (request) => json(await list(backend, request)) },
    {
      method: "GET",
      path: "/images/search",
      handle: async ({ query, signal }) =>
        json(await images.search(query.required("term"), { limit: query.int("limit"), signal })),
    },
    { method: "POST", path: "/images/prune", handle: async (request) => json(await prune(backend, request)) },
    {
      method: "GET",
      path: "/images/{name...}/json",
      handle: async ({ params, query, apiMinor }) => {
        const platform = query.text("platform");
        const image = await images.resolve(params["name"]!, {
          platform: platform ? parsePlatform(platform) : undefined,
        });
        return json(imageInspect(image, apiMinor));
      },
    },
    {
      method: "GET",
      path: "/images/{name...}/history",
      handle: async ({ params }) => json(await images.history(params["name"]!)),
    },
    {
      method: "POST",
      path: "/images/{name...}/tag",
      handle: async ({ params, query }) => {
        await images.tag(params["name"]!, withTag(query.required("repo"), query.text("tag")));
        return { status: 201 };
      },
    },
    {
      method: "DELETE",
      path: "/images/{name...}",
      handle: async ({ params, query }) =>
        json(await images.remove(params["name"]!, { force: query.bool("force"), noPrune: query.bool("noprune") })),
    },
  ];
}

/** `repo` and `tag` as two parameters; `repo` alone may carry its tag. */
export function withTag(repository: string, tag: string | undefined): string {
  if (!tag) return repository;
  if (parseReference(repository).digest !== undefined) throw invalidArgument("a name with a digest can't have a tag");
  return tag.startsWith("sha256:") ? `${repository}@${tag}` : `${repository}:${tag}`;
}

async function list({ images, clock }: ImagesBackend, { query, apiMinor }: DockerRequest): Promise<object[]> {
  const all = await images.list();
  const wanted = await listFilter(query.filters(LIST_FILTERS), images, clock);
  const shared = query.bool("shared-size") ? sharedSizes(all) : undefined;
  return all
    .filter((image) => (query.bool("all") || !isIntermediate(image, all)) && wanted(image))
    .sort((one, other) => other.createdMs - one.createdMs)
    .map((image) => imageSummary(image, shared?.get(image.id) ?? -1, -1, apiMinor));
}

/** Without a name and under another image: a step of its build. */
function isIntermediate(image: Image, all: readonly Image[]): boolean {
  return image.repoTags.length === 0 && all.some((other) => other.parent === image.id);
}

/** Bytes of each image in layers that another image has, too. */
export function sharedSizes(images: readonly Image[]): Map<string, number> {
  const users = new Map<string, number>();
  for (const { layers } of images) for (const { chainId } of layers) users.set(chainId, (users.get(chainId) ?? 0) + 1);
  const shared = (layers: readonly Layer[]) =>
    layers.reduce((sum, { chainId, sizeBytes }) => sum + (users.get(chainId)! > 1 ? sizeBytes : 0), 0);
  return new Map(images.map((image) => [image.id, shared(image.layers)]));
}

async function prune({ images, clock }: ImagesBackend, { query }: DockerRequest): Promise<object> {
  const filters = query.filters(PRUNE_FILTERS);
  const { removed, freedBytes } = await images.prune({
    danglingOnly: flag(filters, "dangling") ?? true,
    untilMs: until(filters, clock),
    matches: labelFilter(filters),
  });
  return { ImagesDeleted: removed.length > 0 ? removed : null, SpaceReclaimed: freedBytes };
}
