import net from "node:net";
import {
  assert,
  deadlineExceeded,
  failedPrecondition,
  KeyedMutex,
  MiB,
  notImplemented,
  unavailable,
  type Clock,
} from "../../base/index.ts";

/**
 * The agent in the guest: QEMU's guest agent protocol (https://www.qemu.org/docs/master/interop/qemu-ga-ref.html) over a virtio serial port. One client at a time, and nobody
 * knows what a former one left unread: every talk begins by synchronising.
 */
export interface GuestExecResult {
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly truncated: boolean;
}

const DELIMITER = 0xff;
const MAX_ANSWER_BYTES = 64 * MiB;
const SYNC_MS = 5_000;
const COMMAND_MS = 30_000;
const POLL_MS = 50;
const MAX_POLL_MS = 1_000;
/** The agent takes and gives at most 48 MiB at once; smaller pieces keep both sides responsive. */
const FILE_CHUNK_BYTES = 1 * MiB;

export class GuestAgentClient {
  readonly #socketPath: string;
  readonly #clock: Clock;
  readonly #mutex = new KeyedMutex();
  #sequence = 0;

  constructor(socketPath: string, clock: Clock) {
    this.#socketPath = socketPath;
    this.#clock = clock;
  }

  /** Whether somebody answers, within `limitMs`. */
  async answers(limitMs = SYNC_MS): Promise<boolean> {
    return this.#talk(() => Promise.resolve(true), limitMs).catch(() => false);
  }

  /** One command. Throws unavailable without an agent, notImplemented when the guest's agent does not know or allow it. */
  call<T = unknown>(command: string, args?: Readonly<Record<string, unknown>>, limitMs = COMMAND_MS): Promise<T> {
    return this.#talk((link) => link.ask<T>(command, args, limitMs));
  }

  /** Runs a program to its end. Output beyond what the agent keeps (16 MiB) is cut. */
  async exec(
    args: readonly string[],
    options: { readonly env?: readonly string[]; readonly input?: string; readonly timeoutMs?: number } = {},
  ): Promise<GuestExecResult> {
    const [program, ...rest] = args;
    assert(program, "a program is named");
    const { pid } = await this.call<{ pid: number }>("guest-exec", {
      path: program,
      arg: rest,
      ...(options.env ? { env: options.env } : {}),
      ...(options.input === undefined ? {} : { "input-data": Buffer.from(options.input).toString("base64") }),
      "capture-output": true,
    });
    const deadline = this.#clock.monotonicMs() + (options.timeoutMs ?? Infinity);
    for (let waitMs = POLL_MS; ; waitMs = Math.min(waitMs * 1.5, MAX_POLL_MS)) {
      const status = await this.call<ExecStatus>("guest-exec-status", { pid });
      if (status.exited) return resultOf(status);
      if (this.#clock.monotonicMs() > deadline)
        throw deadlineExceeded(`${program} did not end within ${options.timeoutMs! / 1000} s; it goes on in the guest`);
      await this.#clock.sleep(waitMs);
    }
  }

  /** Reads a file of the guest in pieces. */
  async *read(file: string): AsyncGenerator<Buffer> {
    const handle = await this.call<number>("guest-file-open", { path: file, mode: "r" });
    try {
      for (;;) {
        const piece = await this.call<{ "buf-b64": string; eof: boolean }>("guest-file-read", {
          handle,
          count: FILE_CHUNK_BYTES,
        });
        const bytes = Buffer.from(piece["buf-b64"], "base64");
        if (bytes.length > 0) yield bytes;
        if (piece.eof || bytes.length === 0) return;
      }
    } finally {
      await this.call("guest-file-close", { handle }).catch(() => {});
    }
  }

  /** Writes a file of the guest, replacing it. */
  async write(file: string, content: AsyncIterable<Uint8Array>): Promise<void> {
    const handle = await this.call<number>("guest-file-open", { path: file, mode: "w" });
    try {
      for await (const chunk of content) {
        for (let at = 0; at < chunk.length; at += FILE_CHUNK_BYTES) {
          const piece = Buffer.from(chunk.subarray(at, at + FILE_CHUNK_BYTES));
          await this.call("guest-file-write", { handle, "buf-b64": piece.toString("base64") });
        }
      }
      await this.call("guest-file-flush", { handle });
    } finally {
      await this.call("guest-file-close", { handle }).catch(() => {});
    }
  }

  #talk<T>(talk: (link: Link) => Promise<T>, syncMs = SYNC_MS): Promise<T> {
    return this.#mutex.run("", async () => {
      const link = await Link.open(this.#socketPath, this.#clock);
      try {
        await link.synchronise(++this.#sequence, syncMs);
        return await talk(link);
      } finally {
        link.close();
      }
    });
  }
}

interface ExecStatus {
  readonly exited: boolean;
  readonly exitcode?: number;
  readonly signal?: number;
  readonly "out-data"?: string;
  readonly "err-data"?: string;
  readonly "out-truncated"?: boolean;
  readonly "err-truncated"?: boolean;
}

function resultOf(status: ExecStatus): GuestExecResult {
  return {
    code: status.exitcode ?? (status.signal === undefined ? 255 : 128 + status.signal),
    stdout: Buffer.from(status["out-data"] ?? "", "base64"),
    stderr: Buffer.from(status["err-data"] ?? "", "base64"),
    truncated: (status["out-truncated"] ?? false) || (status["err-truncated"] ?? false),
  };
}

interface Answer {
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
}

/** One connection: lines of JSON, and a delimiter byte before the answer to a synchronisation. */
class Link {
  readonly #socket: net.Socket;
  readonly #clock: Clock;
  #pending: Buffer = Buffer.alloc(0);
  #wake = () => {};
  #ended = false;

  private constructor(socket: net.Socket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    socket.on("data", (chunk: Buffer) => {
      this.#pending = Buffer.concat([this.#pending, chunk]);
      if (this.#pending.length > MAX_ANSWER_BYTES) socket.destroy();
      this.#wake();
    });
    const end = () => {
      this.#ended = true;
      this.#wake();
    };
    socket.on("error", end).on("close", end);
  }

  static async open(socketPath: string, clock: Clock): Promise<Link> {
    const socket = net.connect({ path: socketPath });
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", (cause) => reject(unavailable("the machine is not running", { cause })));
    });
    return new Link(socket, clock);
  }

  async synchronise(id: number, limitMs: number): Promise<void> {
    this.#send("guest-sync-delimited", { id }, true);
    const deadline = this.#clock.monotonicMs() + limitMs;
    for (;;) {
      const line = await this.#line(deadline, true);
      if (line === undefined)
        throw unavailable("the agent in the guest does not answer", {
          hint: "is the guest up, and is qemu-guest-agent installed and running in it? `berth vm logs` shows its console; `berth vm ssh` needs no agent",
        });
      if ((JSON.parse(line) as Answer).return === id) return;
    }
  }

  async ask<T>(command: string, args: Readonly<Record<string, unknown>> | undefined, limitMs: number): Promise<T> {
    this.#send(command, args);
    const line = await this.#line(this.#clock.monotonicMs() + limitMs);
    if (line === undefined)
      throw deadlineExceeded(`the agent in the guest did not answer ${command} within ${limitMs / 1000} s`);
    const { error, return: value } = JSON.parse(line) as Answer;
    if (!error) return value as T;
    if (error.class === "CommandNotFound" || error.desc.includes("disabled"))
      throw notImplemented(`the agent in the guest does not do ${command}: ${error.desc}`);
    throw failedPrecondition(`the guest refused: ${error.desc}`);
  }

  close(): void {
    this.#socket.destroy();
  }

  #send(command: string, args?: Readonly<Record<string, unknown>>, delimited = false): void {
    const text = JSON.stringify({ execute: command, ...(args ? { arguments: args } : {}) });
    this.#socket.write(Buffer.concat([Buffer.from(delimited ? [DELIMITER] : []), Buffer.from(`${text}\n`)]));
  }

  /** The next line; `delimited`: that after the last delimiter. Undefined when the time is up or the connection gone. */
  async #line(deadline: number, delimited = false): Promise<string | undefined> {
    for (;;) {
      if (delimited) {
        const mark = this.#pending.lastIndexOf(DELIMITER);
        this.#pending = mark >= 0 ? this.#pending.subarray(mark) : Buffer.alloc(0);
      }
      const end = this.#pending.indexOf(0x0a);
      if (end >= 0) {
        const line = this.#pending.subarray(delimited ? 1 : 0, end).toString();
        this.#pending = this.#pending.subarray(end + 1);
        return line;
      }
      const leftMs = deadline - this.#clock.monotonicMs();
      if (this.#ended || leftMs <= 0) return undefined;
      await new Promise<void>((resolve) => {
        const timer = this.#clock.after(leftMs, resolve);
        this.#wake = () => {
          timer.cancel();
          resolve();
        };
      });
    }
  }
}
