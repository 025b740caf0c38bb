import type { vm } from "../../api/index.ts";
import { invalidArgument } from "../../base/index.ts";
import type { Machine } from "./machine.ts";

/** What stands before a command so that it runs in the image's root file system, and where that is, for the agent outside of it. */
const OCI_ROOT = "/root";
const EXEC_MS = 10 * 60_000;

/** Runs a program in the guest by its agent, to its end. */
export async function execInGuest(machine: Machine, request: vm.VmExecRequest): Promise<vm.VmExecResult> {
  if (!Array.isArray(request.args) || request.args.length === 0) throw invalidArgument("the program to run is missing");
  void machine.monitor;
  const { args, env } = guestCommand(machine, request);
  const result = await machine.agent.exec(args, {
    ...(env ? { env } : {}),
    ...(request.input === undefined ? {} : { input: request.input }),
    timeoutMs: request.timeoutMs ?? EXEC_MS,
  });
  machine.agentSeen();
  return {
    code: result.code,
    stdout: result.stdout.toString("base64"),
    stderr: result.stderr.toString("base64"),
    truncated: result.truncated,
  };
}

function guestCommand({ record }: Machine, { args, env }: vm.VmExecRequest) {
  if (record.guest !== "oci") return { args, env };
  const { process } = record.spec;
  return {
    args: ["/bin/unshare", `--root=${OCI_ROOT}`, `--wd=${process?.cwd || "/"}`, "--", ...args],
    env: [...(process?.env ?? []), ...(env ?? [])],
  };
}

const guestPath = ({ record }: Machine, file: string) => (record.guest === "oci" ? `${OCI_ROOT}${file}` : file);

/** A file of the guest; throws before the first byte when it cannot be read. */
export async function copyFromGuest(machine: Machine, file: string): Promise<AsyncIterable<Buffer>> {
  void machine.monitor;
  const pieces = machine.agent.read(guestPath(machine, file));
  const first = await pieces.next();
  return (async function* () {
    if (!first.done) yield first.value;
    yield* pieces;
  })();
}

export async function copyToGuest(machine: Machine, file: string, content: AsyncIterable<Uint8Array>): Promise<void> {
  void machine.monitor;
  await machine.agent.write(guestPath(machine, file), content);
}
