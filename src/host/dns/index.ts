export { DnsForwarder, type ForwarderOptions } from "./forward.ts";
export { DnsServer, type DnsHandler, type DnsListen } from "./server.ts";
export { emptyAnswer, messageId, readQuestion, RCODE, withId, type Question } from "./wire.ts";
