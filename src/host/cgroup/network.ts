import { readFile } from "node:fs/promises";

export interface NetworkCounters {
  readonly name: string;
  readonly rxBytes: number;
  readonly rxPackets: number;
  readonly rxErrors: number;
  readonly rxDropped: number;
  readonly txBytes: number;
  readonly txPackets: number;
  readonly txErrors: number;
  readonly txDropped: number;
}

/** Counters of the interfaces, less the loopback, that a process sees (/proc/PID/net/dev); empty when it is gone. */
export async function networkCounters(pid: number): Promise<NetworkCounters[]> {
  return parseNetDev(await readFile(`/proc/${pid}/net/dev`, "utf8").catch(() => ""));
}

export function parseNetDev(text: string): NetworkCounters[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*([^:\s]+):\s*(.*)$/.exec(line);
    if (!match || match[1] === "lo") return [];
    const n = match[2]!.trim().split(/\s+/).map(Number);
    return [
      {
        name: match[1]!,
        rxBytes: n[0]!,
        rxPackets: n[1]!,
        rxErrors: n[2]!,
        rxDropped: n[3]!,
        txBytes: n[8]!,
        txPackets: n[9]!,
        txErrors: n[10]!,
        txDropped: n[11]!,
      },
    ];
  });
}
