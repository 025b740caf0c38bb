import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { PLUGIN_PROTOS } from "../../../api/index.ts";
import { FakeClock, silentLogger, systemClock } from "../../../base/index.ts";
import { listenLazily } from "../../../host/index.ts";
import { grpcServer } from "../../grpc/index.ts";
import { UsualFolder } from "../usual-folder.ts";
import { PluginRegistry, type PluginInfo } from "./registry.ts";

test("a socket where nobody answers holds no other plugin up", async (t) => {
  const folder = await mkdtemp(path.join(os.tmpdir(), "berth-plugins-"));
  const accepted = new Set<net.Socket>();
  const silent = net.createServer((socket) => accepted.add(socket.on("error", () => {})));
  await new Promise<void>((resolve) => silent.listen(path.join(folder, "a-silent.sock"), resolve));
  const service = { proto: PLUGIN_PROTOS.registration, name: "pluginregistration.Registration" };
  const told = Promise.withResolvers<unknown>();
  const good = await listenLazily(
    path.join(folder, "b-good.sock"),
    async () =>
      grpcServer(service, {
        GetInfo: async () => ({ type: "CSIPlugin", name: "good", endpoint: "/e", supportedVersions: ["1.0.0"] }),
        NotifyRegistrationStatus: async (status) => {
          told.resolve(status);
          return {};
        },
      }),
    silentLogger,
  );
  const registered: PluginInfo[] = [];
  const handler = { register: async (plugin: PluginInfo) => void registered.push(plugin), unregister: () => {} };
  // Deadlines are the wall clock's; looks at the folder are not needed twice.
  const clock = Object.assign(new FakeClock(), { nowMs: () => systemClock.nowMs() });
  const registry = new PluginRegistry({
    folder,
    usualFolder: new UsualFolder(folder, false),
    clock,
    log: silentLogger,
    handlers: { CSIPlugin: handler },
  });
  t.after(async () => {
    registry.stop();
    for (const socket of accepted) socket.destroy();
    silent.close();
    await good.close();
    await rm(folder, { recursive: true, force: true });
  });
  await registry.start();
  assert.deepEqual(await told.promise, { pluginRegistered: true, error: "" });
  assert.deepEqual(
    registered.map(({ name }) => name),
    ["good"],
  );
});
