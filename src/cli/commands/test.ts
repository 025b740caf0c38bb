import path from "node:path";
import { root } from "../daemon-process.ts";
import { ensurePackages } from "../packages.ts";

/** `berth test`: checks, unit tests, end-to-end tests. The runner takes this process over, so that its exit code is the command's. */
export async function test(
  filters: string[],
  options: { yes?: boolean; unit?: boolean; e2e?: boolean },
): Promise<void> {
  if (!options.unit) await ensurePackages(["engine", "vm", "test"], options);
  const kinds = options.unit ? ["unit"] : options.e2e ? ["e2e"] : ["all"];
  const env = {
    ...process.env,
    PATH: `${path.join(root, "node_modules/.bin")}:${process.env["PATH"]}`,
    BERTH_NO_INSTALL: "1",
  };
  process.chdir(root);
  const argv = [
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    path.join(root, "scripts/test.ts"),
    ...kinds,
    ...filters,
  ];
  process.execve!(process.execPath, argv, env as Record<string, string>);
}
