import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { grpcAction } from "./grpc.ts";

const STATUSES: Readonly<Record<string, number>> = { "": 1, ready: 1, broken: 2 };
const server = new grpc.Server();
let port: number;

before(async () => {
  const identity = (bytes: Buffer): Buffer => bytes;
  const Check = {
    path: "/grpc.health.v1.Health/Check",
    requestStream: false,
    responseStream: false,
    requestSerialize: identity,
    requestDeserialize: (bytes: Buffer) => ({ service: bytes.subarray(2).toString() }),
    responseSerialize: (status: number) => Buffer.from([0x08, status]),
    responseDeserialize: identity,
  };
  server.addService(
    { Check } as unknown as grpc.ServiceDefinition,
    {
      Check: (call: grpc.ServerUnaryCall<{ service: string }, number>, callback: grpc.sendUnaryData<number>) => {
        const status = STATUSES[call.request.service];
        if (status === undefined) callback({ code: grpc.status.NOT_FOUND, details: "unknown service" });
        else callback(null, status);
      },
    } as grpc.UntypedServiceImplementation,
  );
  port = await new Promise((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
});
after(() => server.forceShutdown());

const ask = (service: string, at = port) => grpcAction("127.0.0.1", at, service, Date.now() + 20_000);

test("a service that serves is well, of whichever name", async () => {
  assert.equal((await ask("")).ok, true);
  assert.equal((await ask("ready")).ok, true);
});

test("one that does not serve, or is unknown, or does not answer, says so", async () => {
  assert.deepEqual(await ask("broken"), {
    ok: false,
    output: 'service unhealthy (responded with "NOT_SERVING")',
  });
  assert.match((await ask("absent")).output, /^error: health rpc failed: .*unknown service/);
  server.forceShutdown();
  assert.match((await ask("")).output, /^error: health rpc failed: /);
});
