import type { DockerContainerConfig, OciImageRunConfig } from "../../api/index.ts";
import { applyChanges, isRunning, type DockerContainers, type ImageService } from "../../engine/index.ts";
import { json, type DockerRequest, type Route } from "../route.ts";
import { withTag } from "./images.ts";

export interface CommitBackend {
  readonly images: Pick<ImageService, "commit">;
  readonly containers: Pick<DockerContainers, "store" | "pause" | "unpause" | "event">;
}

/** `docker commit`: the one endpoint that makes an image out of a container. */
export function commitRoutes(backend: CommitBackend): Route[] {
  return [
    { method: "POST", path: "/commit", handle: async (request) => json({ Id: await commit(backend, request) }, 201) },
  ];
}

async function commit({ images, containers }: CommitBackend, request: DockerRequest): Promise<string> {
  const { query } = request;
  const record = containers.store.get(query.required("container"));
  const asked = (await request.json<DockerContainerConfig>({ optional: true })) ?? {};
  const config = applyChanges(mergeConfig(asked, record.config), query.all("changes"));
  const repository = query.text("repo");
  const tag = repository ? withTag(repository, query.text("tag")) : undefined;
  const pause = query.bool("pause", true) && isRunning(record) && record.state.status !== "paused";
  if (pause) await containers.pause(record.id);
  try {
    const image = await images.commit({
      snapshotKey: record.id,
      parent: record.imageId,
      config,
      author: query.text("author"),
      comment: query.text("comment"),
      createdBy: record.args.join(" "),
      containerId: record.id,
      tag,
    });
    containers.event(record, "commit", {
      comment: query.text("comment") ?? "",
      imageID: image.id,
      imageRef: tag ?? "",
    });
    return image.id;
  } finally {
    if (pause) await containers.unpause(record.id);
  }
}

/** What the request sets goes before what the container has; lists of names are joined. */
function mergeConfig(asked: DockerContainerConfig, own: DockerContainerConfig): OciImageRunConfig {
  const environment = new Map([...(own.Env ?? []), ...(asked.Env ?? [])].map((entry) => [entry.split("=")[0]!, entry]));
  const merged: OciImageRunConfig = {
    User: asked.User || own.User,
    ExposedPorts: { ...own.ExposedPorts, ...asked.ExposedPorts },
    Env: [...environment.values()],
    Entrypoint: asList(asked.Entrypoint?.length ? asked.Entrypoint : own.Entrypoint),
    Cmd: asList(asked.Cmd?.length ? asked.Cmd : own.Cmd),
    Volumes: { ...own.Volumes, ...asked.Volumes },
    WorkingDir: asked.WorkingDir || own.WorkingDir,
    Labels: { ...own.Labels, ...asked.Labels },
    StopSignal: asked.StopSignal || own.StopSignal,
    Healthcheck: asked.Healthcheck ?? own.Healthcheck ?? undefined,
    Shell: asked.Shell ?? own.Shell ?? undefined,
    OnBuild: asked.OnBuild ?? own.OnBuild,
  };
  const isEmpty = (value: unknown) =>
    value === undefined ||
    value === null ||
    value === "" ||
    (typeof value === "object" && Object.keys(value).length === 0);
  return Object.fromEntries(Object.entries(merged).filter(([, value]) => !isEmpty(value)));
}

/** Clients may send one word as a text. */
function asList(command: string | string[] | null | undefined): string[] | undefined {
  return typeof command === "string" ? [command] : (command ?? undefined);
}
