/**
 * Runs golden transcripts with each kubectl of this machine, each against a fresh cluster of its own.
 *
 *     kubectlTranscripts("create");   // testdata/create.golden
 */
import { existsSync } from "node:fs";
import { cp, mkdir, symlink } from "node:fs/promises";
import path from "node:path";
import { describe, test } from "node:test";
import { startTestCluster } from "../../support/cluster.ts";
import type { TestClusterOptions } from "../../support/cluster.ts";
import { runTranscript } from "../../support/transcript.ts";

const TESTDATA = path.join(import.meta.dirname, "testdata");
const DEFAULT = "kubectl";
const VERSIONS = ["1.28", "1.29", "1.31", "1.32", "1.33"];

/** The default kubectl and each other version that this machine has, by path. */
export const kubectls: readonly string[] = [
  ...(process.env["PATH"] ?? "")
    .split(":")
    .map((folder) => path.join(folder, DEFAULT))
    .filter(existsSync)
    .slice(0, 1),
  ...VERSIONS.map((version) => `/usr/lib/google-cloud-sdk/bin/kubectl.${version}`).filter(existsSync),
];

export interface TranscriptsOptions extends TestClusterOptions {
  /** Only the default kubectl: for what depends on the server alone. */
  readonly defaultOnly?: boolean;
}

/** One test for each kubectl: `testdata/NAME.golden`, with the files of testdata/files in its working directory. */
export function kubectlTranscripts(name: string, { defaultOnly, ...options }: TranscriptsOptions = {}): void {
  const few = defaultOnly || process.env["BERTH_UPDATE_GOLDEN"] !== undefined;
  // Mostly waiting, so two at once.
  describe(name, { concurrency: 2 }, () => {
    for (const kubectl of few ? kubectls.slice(0, 1) : kubectls)
      test(path.basename(kubectl), () => runWith(kubectl, name, options));
  });
}

async function runWith(kubectl: string, name: string, options: TestClusterOptions): Promise<void> {
  await using berth = await startTestCluster(options);
  const home = path.join(berth.folder, "home");
  await cp(path.join(TESTDATA, "files"), home, { recursive: true });
  const bin = path.join(berth.folder, "bin");
  await mkdir(bin);
  await symlink(kubectl, path.join(bin, "kubectl"));
  const env = {
    PATH: `${bin}:${path.dirname(process.execPath)}:/usr/bin:/bin`,
    HOME: home,
    // kubectl edit leaves its file behind when it is refused.
    TMPDIR: berth.folder,
    KUBECONFIG: berth.kubeconfig,
    SERVER: berth.cluster.url,
    TERM: "dumb",
  };
  await runTranscript(path.join(TESTDATA, `${name}.golden`), { env, cwd: home, steady });
}

const RANDOM = "[bcdfghjklmnpqrstvwxz2456789]";

/** What differs from run to run, and between versions of kubectl, gets one name. */
const replacements: readonly (readonly [RegExp, string])[] = [
  [/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/g, "UID"],
  [/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, "TIME"],
  [/\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [-+]\d{4}/g, "TIME"],
  [/(?<=  |\(|^|over )((\d+m)?\d+s|\d+ms|<unknown>|<invalid>)( ago)?(?=$|  |,|\)| \(x)/gm, "AGE$3"],
  [/\b10\.96\.\d+\.\d+\b/g, "CLUSTER-IP"],
  [/\b10\.(244|\d+)\.\d+\.\d+\b/g, "IP"],
  // Before the node ports: the server's own port may look like one.
  [/\b127\.0\.0\.1:\d+\b/g, "SERVER"],
  [/\b3[0-2]\d{3}\b/g, "NODEPORT"],
  [/\bsim-\d\b/g, "sim-N"],
  [/\bkube-api-access-[a-z0-9]{5}\b/g, "kube-api-access-RAND"],
  [new RegExp(`\\b(endpointslice\\S*/[a-z]+)-${RANDOM}{5}\\b`, "g"), "$1-RAND"],
  [new RegExp(`\\b([jk])-${RANDOM}{5}\\b`, "g"), "$1-RAND"],
  [/(resourceVersion"?:\s*)"?\d+"?/g, "$1RV"],
  [/(pod-template-hash"?[=:] ?"?)[a-z0-9]+/g, "$1HASH"],
  [new RegExp(`\\b([a-z][a-z0-9-]*?)-${RANDOM}{8,10}-${RANDOM}{5}\\b`, "g"), "$1-HASH-RAND"],
  [new RegExp(`\\b(web)-${RANDOM}{8,10}\\b`, "g"), "$1-HASH"],
  [/^[WIE]\d{4} [\d:.]+ +\d+ /gm, ""],
  // kubectl 1.34 names the namespace too.
  [/(deleted|condition met) from \S+ namespace$/gm, "$1"],
  // Columns are as wide as their widest cell, which may be one of the above.
  [/(?<=\S) {2,}/g, "  "],
  [/[ \t]+$/gm, ""],
];

export function steady(output: string): string {
  return replacements.reduce((text, [pattern, name]) => text.replace(pattern, name), output);
}
