import type { OverlayNode, RemoteKubelet } from "../../../../node/index.ts";
import type { AgentSwitch } from "./agent-switch.ts";

/** A node beside the machine's own: in this process (`FurtherNode`) or in another, maybe on another kernel (`ElsewhereNode`). */
export interface NodeBeside {
  readonly name: string;
  /** Of a node in this process. */
  readonly agent?: AgentSwitch;
  /** Of a node elsewhere. */
  readonly kubelet?: RemoteKubelet;
  /** Every node learns of every other. */
  setPeers(nodes: readonly OverlayNode[]): void;
  /** Resolves when it is Ready. */
  powerOn(): Promise<void>;
  /** It was on when the daemon ended. What takes long goes on by itself. */
  resume(): Promise<void>;
  /** Its kubelet and containers end at once. */
  powerOff(): Promise<void>;
  /** It will be removed: it says nothing any more. */
  retire(): Promise<void>;
  /** The daemon ends; Pods and rules stay. */
  close(): Promise<void>;
  /** Removes everything of it from the machine. */
  destroy(): Promise<void>;
}
