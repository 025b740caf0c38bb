import { notImplemented, rfc3339, unavailable } from "../../base/index.ts";
import type { DockerVolume, DockerVolumeCreateBody } from "../../api/index.ts";
import type { Volume, VolumeService, VolumeUsage } from "../../engine/index.ts";
import type { Filters } from "../query.ts";
import { empty, json, type Route } from "../route.ts";
import { isTrue } from "./networks.ts";
import { labelsMatch } from "./resource-filters.ts";

const LIST_FILTERS = ["dangling", "driver", "label", "name"];
const PRUNE_FILTERS = ["label", "label!", "all"];

export function volumeRoutes(volumes: VolumeService): Route[] {
  return [
    {
      method: "GET",
      path: "/volumes",
      handle: ({ query }) => {
        const accept = volumeFilter(volumes, query.filters(LIST_FILTERS));
        return json({ Volumes: volumes.list().filter(accept).map(volumeView), Warnings: null });
      },
    },
    {
      method: "POST",
      path: "/volumes/create",
      handle: async (request) => {
        const body = (await request.json<DockerVolumeCreateBody>({ optional: true })) ?? {};
        return json(volumeView(await create(volumes, body)), 201);
      },
    },
    {
      method: "POST",
      path: "/volumes/prune",
      handle: async ({ query, apiMinor }) => {
        const { removed, reclaimedBytes } = await volumes.prune(pruneFilter(query.filters(PRUNE_FILTERS), apiMinor));
        const names = removed.map((volume) => volume.name);
        return json({ VolumesDeleted: names.length > 0 ? names : null, SpaceReclaimed: reclaimedBytes });
      },
    },
    { method: "GET", path: "/volumes/{name}", handle: ({ params }) => json(volumeView(volumes.get(params["name"]!))) },
    {
      method: "PUT",
      path: "/volumes/{name}",
      handle: () => {
        throw unavailable("volume update only valid for cluster volumes, but swarm is unavailable");
      },
    },
    {
      method: "DELETE",
      path: "/volumes/{name}",
      handle: async ({ params, query }) => {
        await volumes.remove(params["name"]!, query.bool("force"));
        return empty();
      },
    },
  ];
}

async function create(volumes: VolumeService, body: DockerVolumeCreateBody): Promise<Volume> {
  if (body.ClusterVolumeSpec) throw notImplemented("cluster volumes need a swarm, which berth does not have");
  return volumes.create({
    name: body.Name || undefined,
    driver: body.Driver || "local",
    options: body.DriverOpts ?? {},
    labels: body.Labels ?? {},
  });
}

function volumeView(volume: Volume): DockerVolume {
  const orNull = (record: Readonly<Record<string, string>>) => (Object.keys(record).length > 0 ? { ...record } : null);
  return {
    CreatedAt: rfc3339(volume.createdMs),
    Driver: volume.driver,
    Labels: orNull(volume.labels),
    Mountpoint: volume.mountpoint,
    Name: volume.name,
    Options: orNull(volume.options),
    Scope: "local",
  };
}

/** As `docker system df` shows it. */
export function volumeUsageView({ volume, sizeBytes, refCount }: VolumeUsage): DockerVolume {
  return { ...volumeView(volume), UsageData: { Size: sizeBytes, RefCount: refCount } };
}

function volumeFilter(volumes: VolumeService, filters: Filters): (volume: Volume) => boolean {
  const dangling = filters.get("dangling")?.map((value) => isTrue("dangling", value));
  const names = filters.get("name");
  const drivers = filters.get("driver");
  return (volume) =>
    (names === undefined || names.some((name) => volume.name.includes(name))) &&
    (drivers === undefined || drivers.includes(volume.driver)) &&
    labelsMatch(filters.get("label"), volume.labels) &&
    (dangling === undefined || dangling.includes(volumes.holders(volume.name).length === 0));
}

/** Since v1.42 only anonymous volumes are pruned unless `all` is given. */
function pruneFilter(filters: Filters, apiMinor: number): (volume: Volume) => boolean {
  const all = apiMinor < 42 || (filters.get("all") ?? []).some((value) => isTrue("all", value));
  return (volume) =>
    (all || volume.anonymous) &&
    labelsMatch(filters.get("label"), volume.labels) &&
    !(filters.get("label!") && labelsMatch(filters.get("label!"), volume.labels));
}
