import * as grpc from "@grpc/grpc-js";
import { messageOf } from "../../base/index.ts";
import type { ConnectionServer } from "../../host/index.ts";
import { serviceOf, type GrpcService, type Wire } from "./connection.ts";

/** Answers one request; what it throws is told to the caller, as kubelets do with the code Unknown. */
export type GrpcMethod = (request: Wire) => Promise<object>;

/** Serves one service on connections that somebody else accepts: see `listenLazily`. */
export function grpcServer(service: GrpcService, methods: Readonly<Record<string, GrpcMethod>>): ConnectionServer {
  const server = new grpc.Server();
  const handlers = Object.entries(methods).map(([name, method]) => [
    name,
    (call: grpc.ServerUnaryCall<Wire, object>, callback: grpc.sendUnaryData<object>) =>
      void method(call.request).then(
        (answer) => callback(null, answer),
        (error: unknown) => callback({ code: grpc.status.UNKNOWN, details: messageOf(error) }),
      ),
  ]);
  server.addService(serviceOf(service), Object.fromEntries(handlers) as grpc.UntypedServiceImplementation);
  const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure());
  return {
    serve: (socket) => injector.injectConnection(socket),
    close: () => {
      injector.destroy();
      server.forceShutdown();
    },
  };
}
