export { ClusterDns, type ClusterDnsOptions, type DnsSource } from "./server.ts";
