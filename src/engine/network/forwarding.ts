import { existsSync } from "node:fs";
import {
  failedPrecondition,
  kernelName,
  messageOf,
  type Clock,
  type InstanceContext,
  type Logger,
} from "../../base/index.ts";
import { dropWarning, forwardChains } from "./foreign-chains.ts";

/** Other software is asked for what it drops this often at most. */
const CHECK_EVERY_MS = 10_000;
const PROGRAMS = ["/usr/sbin/iptables", "/usr/sbin/ip6tables"] as const;

/**
 * What `iptables -S` lists → the changes that let our packets through: a chain that drops what is forwarded (dockerd's policy, a firewall's) is asked
 * besides our own table, and either may drop. Our own table has decided already what may reach a container, so all of ours is accepted there.
 * dockerd leaves DOCKER-USER to others and goes through it first; else the rules stand at the head of FORWARD. Pure.
 */
export function planForwarding(listing: string, prefix: string): string[][] {
  const lines = listing.split("\n");
  const dockers = lines.includes("-N DOCKER-USER");
  const drops = lines.includes("-P FORWARD DROP");
  if (!dockers && !drops) return [];
  const chain = dockers ? "DOCKER-USER" : "FORWARD";
  const there = (direction: string) =>
    lines.some((line) => line.startsWith(`-A ${chain} ${direction} ${prefix}+ `) && line.includes(mark(prefix)));
  return ["-i", "-o"]
    .filter((direction) => !there(direction))
    .map((direction) => ["-I", ...rule(chain, direction, prefix)]);
}

/** The changes that take our rules away again, wherever they stand. Pure. */
export function planRemoval(listing: string, prefix: string): string[][] {
  return listing.split("\n").flatMap((line) => {
    const [, chain = "", direction = ""] = /^-A (\S+) (-[io]) /.exec(line) ?? [];
    return chain !== "" && line.includes(` ${prefix}+ `) && line.includes(mark(prefix))
      ? [["-D", ...rule(chain, direction, prefix)]]
      : [];
  });
}

const mark = (prefix: string) => `berth:${prefix}`;
const rule = (chain: string, direction: string, prefix: string) => [
  chain,
  direction,
  `${prefix}+`,
  "-m",
  "comment",
  "--comment",
  mark(prefix),
  "-j",
  "ACCEPT",
];

export type RunProgram = (argv: readonly string[]) => Promise<{ code: number; stdout: string; stderr: string }>;

/** Keeps our packets from being dropped by others' forward chains, as far as iptables makes them. */
export class Forwarding {
  readonly #prefix: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #run: RunProgram;
  #checkedMs = Number.NEGATIVE_INFINITY;
  #checking: Promise<void> = Promise.resolve();

  constructor(ctx: InstanceContext, runProgram: RunProgram) {
    this.#prefix = kernelName(ctx.instance);
    this.#clock = ctx.clock;
    this.#log = ctx.log;
    this.#run = runProgram;
  }

  /** Looks whether something drops now, unless that was done a moment ago; nobody waits for it. dockerd may have come since. */
  keep(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#checkedMs < CHECK_EVERY_MS) return;
    this.#checkedMs = nowMs;
    this.#checking = this.#change(planForwarding).catch((error: unknown) =>
      this.#log.warn("other software may drop what containers send", { reason: messageOf(error) }),
    );
  }

  /** What only the user can change: chains that were made with nft. */
  async warnings(): Promise<string[]> {
    const chains = await this.#run(["nft", "-j", "list", "chains"]);
    const warnings: string[] = [];
    for (const chain of chains.code === 0 ? forwardChains(chains.stdout) : []) {
      const { code, stdout } = await this.#run(["nft", "-j", "list", "chain", chain.family, chain.table, chain.name]);
      const warning = code === 0 ? dropWarning(chain, stdout, this.#prefix) : undefined;
      if (warning) warnings.push(warning);
    }
    return warnings;
  }

  async remove(): Promise<void> {
    await this.#checking;
    await this.#change(planRemoval).catch(() => {});
  }

  async #change(plan: (listing: string, prefix: string) => string[][]): Promise<void> {
    for (const program of PROGRAMS) {
      if (!existsSync(program)) continue;
      const { code, stdout } = await this.#run([program, "-w", "5", "-S"]);
      // Without support in this kernel it drops nothing either.
      if (code !== 0) continue;
      for (const change of plan(stdout, this.#prefix)) {
        const done = await this.#run([program, "-w", "5", ...change]);
        if (done.code !== 0) throw failedPrecondition(`${program} ${change.join(" ")}: ${done.stderr.trim()}`);
        this.#log.info("a rule of other software was changed", { program, change: change.join(" ") });
      }
    }
  }
}
