export { readContainerLog, type LogOptions } from "./container-log.ts";
export { servePortForward, type Dial } from "./port-forward.ts";
export { serveRemoteCommand, type RemoteCommand } from "./remote-command.ts";
export type { Upgrade } from "./upgrade.ts";
