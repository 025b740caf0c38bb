export { CHANNEL } from "./channels.ts";
export { readContainerLog, type LogOptions } from "./container-log.ts";
export { serveLog } from "./log-stream.ts";
export { servePortForward, type Dial } from "./port-forward.ts";
export { StreamingServer, type StreamingServerOptions } from "./server.ts";
export { serveRemoteCommand, type RemoteCommand } from "./remote-command.ts";
export type { Upgrade } from "./upgrade.ts";
