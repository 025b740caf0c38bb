import { chown, stat } from "node:fs/promises";
import path from "node:path";
import { deadlineExceeded, failedPrecondition } from "../../base/index.ts";
import { VIRTIOFSD_CAPABILITIES, virtiofsdArgv } from "../hypervisor/virtiofsd.ts";
import { VM_UID } from "../micro/root.ts";
import { SHARE_SOCKET } from "./argv.ts";
import type { MachineHost } from "./host.ts";
import type { MachineRecord } from "./record.ts";

const LISTEN_MS = 10_000;
const POLL_MS = 20;

/** One virtiofsd for each shared folder of a machine that is about to start. */
export async function serveShares(host: MachineHost, { id, spec }: MachineRecord): Promise<void> {
  const { clock } = host.context;
  for (const [index, share] of spec.shares.entries()) {
    const facts = await stat(share.source).catch(() => undefined);
    if (!facts?.isDirectory()) throw failedPrecondition(`the shared folder ${share.source} is not there`);
    const run = host.runFolder(id);
    const socket = path.join(run, SHARE_SOCKET(index));
    await host.startProgram(id, {
      id: `${id}-share${index}`,
      logPath: path.join(host.records.folder(id), `share${index}.log`),
      uid: 0,
      confinesItself: true,
      capabilities: VIRTIOFSD_CAPABILITIES,
      args: virtiofsdArgv(socket),
      binds: [
        { source: run, write: true },
        { source: share.source, target: "/share", write: !share.readonly },
      ],
    });
    const deadline = clock.monotonicMs() + LISTEN_MS;
    for (;;) {
      const listens = await chown(socket, VM_UID, VM_UID).then(
        () => true,
        () => false,
      );
      if (listens) break;
      if (clock.monotonicMs() > deadline) throw deadlineExceeded(`the file server of ${share.source} does not listen`);
      await clock.sleep(POLL_MS);
    }
  }
}
