export { GrpcConnection, orWithout, serviceOf, type CallOptions, type GrpcService, type Wire } from "./connection.ts";
