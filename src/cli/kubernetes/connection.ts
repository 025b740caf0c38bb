import { readFileSync } from "node:fs";
import { invalidArgument, messageOf, unavailable } from "../../base/index.ts";
import { KubeClient, remoteApi } from "../../client/index.ts";

/** A cluster as a kubeconfig's current context names it. */
export interface Connection {
  readonly client: KubeClient;
  readonly server: string;
  /** Of the context; `default` when it names none. */
  readonly namespace: string;
  close(): void;
}

interface Kubeconfig {
  readonly "current-context"?: string;
  readonly contexts?: ReadonlyArray<{ name: string; context: { cluster: string; user: string; namespace?: string } }>;
  readonly clusters?: ReadonlyArray<{
    name: string;
    cluster: { server: string; "certificate-authority-data"?: string };
  }>;
  readonly users?: ReadonlyArray<{ name: string; user: Credentials }>;
}
interface Credentials {
  readonly "client-certificate-data"?: string;
  readonly "client-key-data"?: string;
  readonly token?: string;
}

/** What is asked of a cluster at once at most, over as many connections. */
const MAX_CONNECTIONS = 16;

/** Throws `unavailable` when there is no such file: the cluster isn't up. */
export async function connect(kubeconfigFile: string): Promise<Connection> {
  const config = await parse(kubeconfigFile);
  const named = config.contexts?.find(({ name }) => name === config["current-context"]);
  const cluster = config.clusters?.find(({ name }) => name === named?.context.cluster)?.cluster;
  if (!named || !cluster)
    throw invalidArgument(`${kubeconfigFile} has no context "${config["current-context"] ?? ""}" with a cluster`);
  const user = config.users?.find(({ name }) => name === named.context.user)?.user ?? {};
  const decode = (text: string | undefined) => (text === undefined ? undefined : Buffer.from(text, "base64"));
  const api = remoteApi({
    server: cluster.server,
    authority: decode(cluster["certificate-authority-data"]),
    cert: decode(user["client-certificate-data"]),
    key: decode(user["client-key-data"]),
    token: user.token,
    maxConnections: MAX_CONNECTIONS,
  });
  return {
    client: new KubeClient(api.handler, { userAgent: "berth" }),
    server: cluster.server,
    namespace: named.context.namespace ?? "default",
    close: () => api.close(),
  };
}

async function parse(file: string): Promise<Kubeconfig> {
  const { load } = await import("js-yaml");
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw unavailable(`there is no cluster: ${messageOf(error)}`, {
      hint: "start it with `berth up -d`",
      cause: error,
    });
  }
  return load(text) as Kubeconfig;
}
