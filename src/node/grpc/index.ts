export { GrpcConnection, orWithout, serviceOf, type CallOptions, type GrpcService, type Wire } from "./connection.ts";
export { grpcServer, type GrpcMethod } from "./server.ts";
