import { internal, invalidArgument, type BerthError } from "../../base/index.ts";

/** Exit codes of a process that could not be started, as shells have them. */
const EXIT_NOT_FOUND = 127;
export const EXIT_NOT_EXECUTABLE = 126;

/**
 * A runtime's complaint about a container's process, in Docker's words: clients look for "executable file not found" and "permission denied".
 * `details.exitCode` is what Docker then answers as the container's exit code.
 */
export function runtimeError(message: string, command: string, action = "create"): BerthError {
  const text = lastMessage(message);
  const prefix =
    action === "exec"
      ? "OCI runtime exec failed: exec failed: "
      : "failed to create task for container: failed to create shim task: OCI runtime create failed: ";
  const exec = `unable to start container process: exec: ${JSON.stringify(command)}: `;
  const options = (exitCode: number) => ({ details: { exitCode, runtimeMessage: text } });
  if (/executable file.*not found in \$PATH/i.test(text)) {
    return invalidArgument(`${prefix}${exec}executable file not found in $PATH: unknown`, options(EXIT_NOT_FOUND));
  }
  const folder = /^chdir `(.*)`: No such file or directory/.exec(text)?.[1];
  if (folder !== undefined) {
    const failed = `chdir to cwd (${JSON.stringify(folder)}) set in config.json failed: no such file or directory`;
    return invalidArgument(`${prefix}unable to start container process: ${failed}: unknown`, options(EXIT_NOT_FOUND));
  }
  if (/exec|open executable|stat/i.test(text) && /No such file or directory/i.test(text)) {
    return invalidArgument(
      `${prefix}${exec}stat ${command}: no such file or directory: unknown`,
      options(EXIT_NOT_FOUND),
    );
  }
  if (/permission denied|open executable: Operation not permitted/i.test(text)) {
    return invalidArgument(`${prefix}${exec}permission denied: unknown`, options(EXIT_NOT_EXECUTABLE));
  }
  if (/is a directory/i.test(text)) {
    return invalidArgument(`${prefix}${exec}is a directory: unknown`, options(EXIT_NOT_EXECUTABLE));
  }
  if (/exec format error/i.test(text)) {
    return invalidArgument(`${prefix}${exec}exec format error: unknown`, options(EXIT_NOT_EXECUTABLE));
  }
  return internal(`${prefix}${text}: unknown`, { details: { exitCode: 128, runtimeMessage: text } });
}

/** crun writes plain lines, runc JSON ones; the last has the cause. */
function lastMessage(message: string): string {
  const lines = message.trim().split("\n");
  const last = lines.findLast((line) => line.trim() !== "") ?? "no message";
  try {
    return (JSON.parse(last) as { msg?: string }).msg ?? last;
  } catch {
    return last.replace(/^\d{4}-\d\d-\d\dT\S+: /, "");
  }
}
