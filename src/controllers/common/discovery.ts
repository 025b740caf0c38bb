import type { AnyObject, KubeClient, Resource } from "../../client/index.ts";
import { messageOf, type Logger } from "../../base/index.ts";

interface ResourceList {
  resources?: { name: string; kind: string; namespaced: boolean; verbs: string[]; group?: string; version?: string }[];
}
interface GroupList {
  groups?: { name: string; preferredVersion?: { groupVersion: string }; versions: { groupVersion: string }[] }[];
}

/** What the server serves in each group's preferred version and offers these verbs for. A group that fails is left out. */
export async function discover(
  client: KubeClient,
  verbs: readonly string[],
  log: Logger,
  signal?: AbortSignal,
): Promise<Resource<AnyObject>[]> {
  const read = async <T>(path: string): Promise<T> => {
    const response = await client.send({ method: "GET", path, signal });
    return (response.object ?? JSON.parse(Buffer.from(response.body ?? []).toString("utf8"))) as T;
  };
  const groups = (await read<GroupList>("/apis")).groups ?? [];
  const versions = [
    "v1",
    ...groups.map(({ preferredVersion, versions: all }) => preferredVersion?.groupVersion ?? all[0]!.groupVersion),
  ];
  const found: Resource<AnyObject>[] = [];
  for (const groupVersion of versions) {
    try {
      const list = await read<ResourceList>(groupVersion === "v1" ? "/api/v1" : `/apis/${groupVersion}`);
      found.push(...usable(list, groupVersion, verbs));
    } catch (error) {
      log.warn("a group could not be discovered", { groupVersion, error: messageOf(error) });
    }
  }
  return found;
}

function usable(list: ResourceList, groupVersion: string, verbs: readonly string[]): Resource<AnyObject>[] {
  const slash = groupVersion.indexOf("/");
  const group = slash < 0 ? "" : groupVersion.slice(0, slash);
  const version = groupVersion.slice(slash + 1);
  return (list.resources ?? [])
    .filter(({ name, verbs: offered }) => !name.includes("/") && verbs.every((verb) => offered.includes(verb)))
    .map(({ name, kind, namespaced }) => ({ group, version, plural: name, kind, namespaced }));
}
