import { resourcePath, resources } from "../../client/index.ts";
import { withCluster } from "./cluster.ts";

export interface PodLogFlags {
  readonly namespace?: string;
  readonly container?: string;
  readonly follow?: boolean;
  readonly previous?: boolean;
  readonly tail?: string;
  readonly timestamps?: boolean;
}

/** `berth logs pod/NAME`. */
export async function podLogs(name: string, flags: PodLogFlags): Promise<void> {
  await withCluster(async ({ client, namespace }) => {
    const query = new URLSearchParams();
    if (flags.container) query.set("container", flags.container);
    if (flags.tail && flags.tail !== "all") query.set("tailLines", flags.tail);
    for (const key of ["follow", "previous", "timestamps"] as const) if (flags[key]) query.set(key, "true");
    const path = resourcePath(resources.pods, flags.namespace ?? namespace, name, "log");
    const response = await client.send({ method: "GET", path, query, headers: { accept: "*/*" } });
    if (response.body) process.stdout.write(response.body);
    if (response.chunks) for await (const chunk of response.chunks) process.stdout.write(chunk);
  });
}
