import { invalidArgument, type Clock } from "../../base/index.ts";
import { parseReference, type Image, type ImageService, type Layer } from "../../engine/index.ts";
import { json, type DockerRequest, type Route } from "../route.ts";
import { flag, labelFilter, LIST_FILTERS, listFilter, PRUNE_FILTERS, until } from "./image-filters.ts";
import { imageInspect, imageSummary, manifestSummary } from "./image-shapes.ts";
import { platformOf, platformsOf } from "./platform-query.ts";

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
      handle: async (request) => json(await inspect(images, request)),
    },
    {
      method: "GET",
      path: "/images/{name...}/history",
      handle: async (request) => json(await images.history(request.params["name"]!, platformOf(request))),
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
      handle: async (request) => {
        const { params, query } = request;
        const options = { force: query.bool("force"), noPrune: query.bool("noprune"), platforms: platformsOf(request) };
        return json(await images.remove(params["name"]!, options));
      },
    },
  ];
}

/** `repo` and `tag` as two parameters; `repo` alone may carry its tag. */
export function withTag(repository: string, tag: string | undefined): string {
  if (!tag) return repository;
  if (parseReference(repository).digest !== undefined) throw invalidArgument("a name with a digest can't have a tag");
  return tag.startsWith("sha256:") ? `${repository}@${tag}` : `${repository}:${tag}`;
}

async function inspect(images: ImageService, request: DockerRequest): Promise<object> {
  const { params, query, apiMinor } = request;
  const [name, platform] = [params["name"]!, platformOf(request)];
  const withManifests = apiMinor >= 48 && query.bool("manifests");
  if (withManifests && platform)
    throw invalidArgument("conflicting options: manifests and platform options cannot both be set");
  const shape = imageInspect(await images.resolve(name, { platform }), apiMinor);
  return withManifests ? { ...shape, Manifests: (await images.partsOf(name)).map(manifestSummary) } : shape;
}

async function list({ images, clock }: ImagesBackend, { query, apiMinor }: DockerRequest): Promise<object[]> {
  const all = (await images.list()).filter((image) => image.partOf === undefined);
  const withManifests = apiMinor >= 47 && query.bool("manifests");
  const manifests = async ({ id }: Image) =>
    withManifests ? { Manifests: (await images.partsOf(id)).map(manifestSummary) } : {};
  const wanted = await listFilter(query.filters(LIST_FILTERS), images, clock);
  const shared = query.bool("shared-size") ? sharedSizes(all) : undefined;
  const rows = all
    .filter((image) => (query.bool("all") || !isIntermediate(image, all)) && wanted(image))
    .sort((one, other) => other.createdMs - one.createdMs)
    .map(async (image) => ({
      ...imageSummary(image, shared?.get(image.id) ?? -1, -1, apiMinor),
      ...(await manifests(image)),
    }));
  return Promise.all(rows);
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
