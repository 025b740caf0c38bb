/** What /version says. Clients compare the numbers with their own; `gitVersion` tells people that this is berth. */
export const DEFAULT_VERSION = "v1.34.2+berth";

export function versionInfo(gitVersion = DEFAULT_VERSION): Record<string, string> {
  const [, major = "1", minor = "34"] = /^v(\d+)\.(\d+)/.exec(gitVersion) ?? [];
  const platform = `${process.platform}/${process.arch === "x64" ? "amd64" : process.arch}`;
  return {
    major,
    minor,
    emulationMajor: major,
    emulationMinor: minor,
    minCompatibilityMajor: major,
    minCompatibilityMinor: String(Number(minor) - 1),
    gitVersion,
    gitCommit: "",
    gitTreeState: "clean",
    buildDate: "1970-01-01T00:00:00Z",
    goVersion: "",
    compiler: "node",
    platform,
  };
}
