import net from "node:net";
import type { cri } from "../../api/index.ts";
import { invalidArgument, messageOf, randomHex, unavailable } from "../../base/index.ts";
import { LinuxNetns, LinuxSockets } from "../../host/index.ts";
import { type RuntimeContainer } from "../container/index.ts";
import type { CriState } from "./state.ts";
import { collect, session } from "./streams.ts";

/** Looking and reaching into what runs: exec, attach, port-forward. */
export class Connections {
  readonly #state: CriState;
  readonly #netns = new LinuxNetns();

  constructor(state: CriState) {
    this.#state = state;
  }

  async execSync(containerId: string, command: string[], timeoutSeconds: number): Promise<cri.ExecSyncResult> {
    const container = this.#state.running(containerId);
    const exec = await container.exec({
      id: randomHex(this.#state.deps.context.random, 8),
      process: execProcess(container, command, false),
    });
    return collect(exec, timeoutSeconds, this.#state.deps.context.clock);
  }

  async exec(containerId: string, request: cri.ExecRequest): Promise<cri.ExecSession> {
    const container = this.#state.running(containerId);
    const exec = await container.exec({
      id: randomHex(this.#state.deps.context.random, 8),
      process: execProcess(container, request.command, request.tty),
      stdin: request.stdin,
    });
    const exit = exec.wait().then(({ code }) => code);
    return session(
      {
        stream: exec.stream,
        exit,
        resize: (size) => exec.resize(size),
        onClose: () => void exec.kill(9).catch(() => {}),
      },
      request,
    );
  }

  async attach(containerId: string, request: cri.AttachRequest): Promise<cri.ExecSession> {
    const container = this.#state.running(containerId);
    const stream = await container.attach();
    return session(
      {
        stream,
        exit: container.wait().then(({ code }) => code),
        resize: (size) => container.resize(size),
        onClose: () => {},
      },
      request,
    );
  }

  async portForward(podSandboxId: string, port: number): Promise<net.Socket> {
    const { netnsPath } = this.#state.sandboxRecord(podSandboxId);
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw invalidArgument(`${port} is no port`);
    let failure: unknown;
    for (const address of ["127.0.0.1", "::1"]) {
      try {
        return await this.#dial(netnsPath, address, port);
      } catch (error) {
        failure ??= error;
      }
    }
    throw unavailable(`failed to connect to localhost:${port} inside namespace ${podSandboxId}: ${messageOf(failure)}`);
  }

  /** A socket belongs for good to the namespace in which it was made. */
  #dial(netnsPath: string, address: string, port: number): Promise<net.Socket> {
    const open = () => new LinuxSockets().bind({ protocol: "tcp", address, port: 0 });
    const { fd } = netnsPath === "" ? open() : this.#netns.enter(netnsPath, open);
    const socket = new net.Socket({ fd });
    return new Promise((resolve, reject) => {
      socket.once("error", reject);
      socket.connect(port, address, () => {
        socket.removeListener("error", reject);
        resolve(socket);
      });
    });
  }
}

function execProcess(container: RuntimeContainer, command: string[], tty: boolean) {
  const { process } = container.request.spec;
  const env =
    tty && !process.env.some((pair) => pair.startsWith("TERM=")) ? [...process.env, "TERM=xterm"] : process.env;
  return { ...process, args: command, env, terminal: tty };
}
