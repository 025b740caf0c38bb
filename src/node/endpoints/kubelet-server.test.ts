import assert from "node:assert/strict";
import { test } from "node:test";
import type { ApiRequest, cri, UserInfo } from "../../api/index.ts";
import { FakeClock, hasCode, unauthenticated } from "../../base/index.ts";
import { kubeletHandler } from "./kubelet-server.ts";
import { NodeUsageSampler } from "./node-usage.ts";
import { RemoteKubelet } from "./remote-kubelet.ts";

const clock = new FakeClock(0);
const pod = { metadata: { name: "web", namespace: "shop", uid: "u1" }, spec: { containers: [] } };
/** A runtime with one container that has not begun yet. */
const runtime = {
  listContainers: async ({ labelSelector }: { labelSelector: Record<string, string> }) =>
    labelSelector["io.kubernetes.container.name"] === "main" ? [{ id: "c1" }] : [],
  containerStatus: async () => ({ id: "c1", state: "CONTAINER_CREATED", metadata: { attempt: 0 } }),
} as unknown as cri.RuntimeService;

const handlerFor = (caller: UserInfo | undefined) =>
  kubeletHandler({
    node: { name: "n1", runtime, usage: new NodeUsageSampler({ clock, folder: "/" }) },
    clock,
    authenticate: () => {
      if (caller?.name === "forged") throw unauthenticated("Unauthorized");
      return caller;
    },
    findPod: (namespace, name) => (namespace === "shop" && name === "web" ? pod : undefined),
  });
const ask = (path: string): ApiRequest => ({ method: "GET", path, query: new URLSearchParams(), headers: {} });
const apiServer = { name: "kube-apiserver-kubelet-client", groups: ["system:masters"] };

test("a kubelet's server answers the API server and nobody else", async () => {
  const refused = (caller: UserInfo | undefined, code: "unauthenticated" | "permissionDenied") =>
    assert.rejects(handlerFor(caller)(ask("/healthz")), (error) => hasCode(error, code));
  await refused(undefined, "unauthenticated");
  await refused({ name: "forged", groups: [] }, "unauthenticated");
  await refused({ name: "system:node:n2", groups: ["system:nodes"] }, "permissionDenied");
  const answer = await handlerFor(apiServer)(ask("/healthz"));
  assert.deepEqual([answer.status, Buffer.from(answer.body!).toString()], [200, "ok"]);
});

test("connections name Pod and container in their path, as upstream's; what is not here says so", async () => {
  const handler = handlerFor(apiServer);
  await assert.rejects(handler(ask("/containerLogs/shop/web/main")), /container "main" in pod "web" is waiting/);
  await assert.rejects(handler(ask("/exec/shop/web/main")), /at least 1 command/);
  await assert.rejects(handler(ask("/attach/shop/gone/main")), /pod gone is not on this node/);
  await assert.rejects(handler(ask("/configz")), /no page/);
});

test("a kubelet that does not answer is unavailable", async () => {
  const kubelet = new RemoteKubelet({ scheme: "https", host: "127.0.0.1", port: 1 });
  await assert.rejects(kubelet.connect(ask("/"), "log", pod, "main"), (error) => hasCode(error, "unavailable"));
});
