/** A control plane in this process for the tests of one file. */
import { after, before } from "node:test";
import { startTestCluster, type TestCluster, type TestClusterOptions } from "../../support/cluster.ts";
import { Api } from "./client.ts";

interface Wanted {
  readonly options?: () => Promise<TestClusterOptions>;
  /** Before the first test. (A file's own `before` would not wait for the cluster: hooks of a file begin together.) */
  readonly prepare?: () => Promise<unknown>;
}

/** Its API, which answers once it is to be prepared and in tests. */
export function clusterApi({ options, prepare }: Wanted = {}): Api {
  const api = new Api();
  let cluster: TestCluster | undefined;
  before(async () => {
    cluster = await startTestCluster(await options?.());
    api.connect(cluster.kubeconfig);
    await prepare?.();
  });
  after(async () => {
    api.close();
    await cluster?.close();
  });
  return api;
}
