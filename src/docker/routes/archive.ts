import { rfc3339Nano } from "../../base/index.ts";
import {
  exportContainer,
  readArchive,
  statPath,
  writeArchive,
  type DockerContainers,
  type PathStat,
} from "../../engine/index.ts";
import { empty, stream, type DockerRequest, type Route } from "../route.ts";

/** Files of containers: `docker cp` and `docker export`. */
export function archiveRoutes(containers: DockerContainers): Route[] {
  const path = "/containers/{id}/archive";
  const target = ({ params, query }: DockerRequest) => [params["id"]!, query.fileName("path")] as const;
  return [
    {
      method: "HEAD",
      path,
      handle: async (request) => ({
        ...empty(200),
        headers: statHeader(await statPath(containers, ...target(request))),
      }),
    },
    {
      method: "GET",
      path,
      handle: async (request) => {
        const { stat, chunks } = await readArchive(containers, ...target(request), request.signal);
        return stream(chunks, "application/x-tar", { headers: statHeader(stat), headWithFirstChunk: true });
      },
    },
    {
      method: "PUT",
      path,
      handle: async (request) => {
        const { query, body, signal } = request;
        const options = {
          noOverwriteDirNonDir: query.bool("noOverwriteDirNonDir"),
          copyUidGid: query.bool("copyUIDGID"),
        };
        await writeArchive(containers, ...target(request), body, options, signal);
        return empty(200);
      },
    },
    {
      method: "GET",
      path: "/containers/{id}/export",
      handle: ({ params, signal }) =>
        stream(exportContainer(containers, params["id"]!, signal), "application/octet-stream", {
          headWithFirstChunk: true,
        }),
    },
  ];
}

function statHeader({ name, size, mode, mtimeMs, linkTarget }: PathStat): Record<string, string> {
  const stat = { name, size, mode, mtime: rfc3339Nano(mtimeMs), linkTarget };
  return { "x-docker-container-path-stat": Buffer.from(JSON.stringify(stat)).toString("base64") };
}
