import { run } from "../host/index.ts";

/** The programs that a container runs under, by what Docker has in their places. */
export interface ComponentVersions {
  /** conmon: Docker's containerd. */
  readonly monitor: string;
  /** The default runtime: Docker's runc. */
  readonly runtime: string;
  /** What `--init` takes: Docker's tini. */
  readonly init: string;
}

/** Asks each program once, when somebody first wants to know; a program that is absent or silent has no version. */
export function componentVersions(programs: Readonly<Record<keyof ComponentVersions, string | undefined>>) {
  let known: Promise<ComponentVersions> | undefined;
  const ask = async (): Promise<ComponentVersions> => {
    const [monitor, runtime, init] = await Promise.all(
      [programs.monitor, programs.runtime, programs.init].map((program) => versionOf(program)),
    );
    return { monitor: monitor!, runtime: runtime!, init: init! };
  };
  return (): Promise<ComponentVersions> => (known ??= ask());
}

async function versionOf(program: string | undefined): Promise<string> {
  if (program === undefined) return "";
  try {
    const { stdout, stderr } = await run([program, "--version"]);
    return versionIn(stdout || stderr);
  } catch {
    return "";
  }
}

/** The version in what a program says of itself: `conmon version 2.1.6`, `crun version 1.8.1`, `tini version 0.19.0`. */
function versionIn(text: string): string {
  return /\bversion:?\s+v?(\S+)/i.exec(text)?.[1] ?? "";
}
