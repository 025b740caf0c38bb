import { deadlineExceeded, hasCode, messageOf, rfc3339 } from "../../../../base/index.ts";
import { resources, type KubeClient } from "../../../../client/index.ts";
import { overlayNode, RemoteKubelet, type OverlayNode, type Underlay } from "../../../../node/index.ts";
import type { DaemonContext } from "../../../context.ts";
import type { Credentials } from "../../../join.ts";
import type { ClusterSettings } from "../settings.ts";
import { KUBELET_PORT } from "./agent.ts";
import type { NodeBeside } from "./node-beside.ts";
import type { NodeMachine } from "./node-machine.ts";
import type { RosterEntry } from "./roster.ts";

/** Under emulation a guest boots for a minute, and berth in it starts for another. */
const READY_MS = 10 * 60_000;
const POLL_MS = 200;

export interface ElsewhereNodeParts {
  readonly client: KubeClient;
  readonly underlay: Underlay;
  readonly authority: string;
  /** What the API server shows kubelets. */
  readonly apiServer: Credentials;
  /** The virtual machine that the node is; left out for a process that its user starts. */
  readonly machine?: NodeMachine;
}

/**
 * A node whose kubelet, engine and rules are those of another berth (`berth up --join`): here are its place in the nodes' network and, where it is a virtual machine,
 * that machine (docs/adr/0165).
 */
export class ElsewhereNode implements NodeBeside {
  readonly name: string;
  readonly kubelet: RemoteKubelet;
  readonly #context: DaemonContext;
  readonly #parts: ElsewhereNodeParts;
  readonly #place: OverlayNode;
  readonly #closed = new AbortController();

  constructor(context: DaemonContext, parts: ElsewhereNodeParts, entry: RosterEntry, settings: ClusterSettings) {
    this.name = entry.name;
    this.#context = context;
    this.#parts = parts;
    this.#place = overlayNode(settings.ranges, entry.index);
    const { cert, key } = parts.apiServer;
    const tls = { ca: parts.authority, cert, key };
    this.kubelet = new RemoteKubelet({ scheme: "https", host: this.#place.underlay, port: KUBELET_PORT, tls });
  }

  /** They follow the Nodes themselves. */
  setPeers(): void {}

  async powerOn(): Promise<void> {
    const { underlay, machine } = this.#parts;
    await this.#sayStarting();
    if (machine) await machine.start(() => this.#replug());
    else underlay.plugIn(this.#place);
    underlay.connect(this.#place, true);
    // Who starts the process reads its join file first.
    if (machine) await this.#ready(machine);
  }

  async resume(): Promise<void> {
    const { underlay, machine } = this.#parts;
    if (!machine) return void underlay.plugIn(this.#place);
    if (await machine.isLive()) return;
    void this.powerOn().catch((error: unknown) => {
      if (!this.#closed.signal.aborted)
        this.#context.log.error("a node's machine did not come up", { node: this.name, why: messageOf(error) });
    });
  }

  async powerOff(): Promise<void> {
    this.#parts.underlay.connect(this.#place, false);
    await this.#parts.machine?.cutPower();
  }

  async retire(): Promise<void> {
    this.#parts.underlay.connect(this.#place, false);
  }

  async close(): Promise<void> {
    this.#closed.abort();
  }

  async destroy(): Promise<void> {
    await this.close();
    await this.#parts.machine?.remove();
    this.#parts.underlay.unplug(this.#place);
  }

  /** A card that was a machine's has lost its addresses to it. */
  #replug(): void {
    this.#parts.underlay.unplug(this.#place);
    this.#parts.underlay.plugIn(this.#place);
  }

  /** What an earlier life said of it does not count. */
  async #sayStarting(): Promise<void> {
    const now = rfc3339(this.#context.clock.nowMs());
    const condition = {
      type: "Ready",
      status: "False",
      reason: "NodeStarting",
      message: "the node is being started",
      lastHeartbeatTime: now,
      lastTransitionTime: now,
    };
    await this.#parts.client
      .of(resources.nodes)
      .patch({ name: this.name }, { status: { conditions: [condition] } }, { subresource: "status", kind: "strategic" })
      .catch(unlessNotFound);
  }

  async #ready(machine: NodeMachine): Promise<void> {
    const { clock } = this.#context;
    const deadlineMs = clock.monotonicMs() + READY_MS;
    while (!(await this.#isReady())) {
      await machine.refuseEnded();
      if (clock.monotonicMs() > deadlineMs)
        throw deadlineExceeded(
          `${this.name} did not join the cluster within ${READY_MS / 60_000} minutes; its console ends with:\n${await machine.lastLines()}`,
          { hint: `berth vm console ${this.name}, or berth vm exec ${this.name} -- journalctl -u berth` },
        );
      await clock.sleep(POLL_MS, this.#closed.signal);
    }
  }

  async #isReady(): Promise<boolean> {
    const node = await this.#parts.client.of(resources.nodes).get({ name: this.name }).catch(unlessNotFound);
    return node?.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
  }
}

function unlessNotFound(error: unknown): undefined {
  if (!hasCode(error, "notFound")) throw error;
}
