import type { OciImageRunConfig } from "../../api/index.ts";
import { invalidArgument } from "../../base/index.ts";

/**
 * Applies the Dockerfile instructions that `docker commit --change` and `docker import --change` take. Each is one line; forms as in the
 * Dockerfile reference, without variables.
 */
export function applyChanges(config: OciImageRunConfig, changes: readonly string[]): OciImageRunConfig {
  const result: OciImageRunConfig = { ...config };
  for (const change of changes.flatMap((text) => text.split("\n"))) {
    const match = /^\s*(\w+)\s+(.+?)\s*$/.exec(change);
    if (!match) {
      if (change.trim() === "") continue;
      throw invalidArgument(`"${change}" is not a valid change: an instruction and its arguments are expected`);
    }
    apply(result, match[1]!.toUpperCase(), match[2]!);
  }
  return result;
}

function apply(config: OciImageRunConfig, instruction: string, rest: string): void {
  switch (instruction) {
    case "CMD":
      config.Cmd = commandOf(rest);
      return;
    case "ENTRYPOINT":
      config.Entrypoint = commandOf(rest);
      return;
    case "ENV":
      for (const [name, value] of pairsOf(rest, instruction))
        config.Env = [...(config.Env ?? []).filter((entry) => !entry.startsWith(`${name}=`)), `${name}=${value}`];
      return;
    case "LABEL":
      config.Labels = { ...config.Labels, ...Object.fromEntries(pairsOf(rest, instruction)) };
      return;
    case "EXPOSE":
      for (const port of words(rest)) config.ExposedPorts = { ...config.ExposedPorts, [portOf(port)]: {} };
      return;
    case "VOLUME":
      for (const path of rest.startsWith("[") ? commandOf(rest) : words(rest))
        config.Volumes = { ...config.Volumes, [path]: {} };
      return;
    case "USER":
      config.User = rest;
      return;
    case "WORKDIR":
      config.WorkingDir = rest.startsWith("/") ? rest : `${(config.WorkingDir ?? "").replace(/\/$/, "")}/${rest}`;
      return;
    case "STOPSIGNAL":
      config.StopSignal = rest;
      return;
    case "ONBUILD":
      config.OnBuild = [...(config.OnBuild ?? []), rest];
      return;
    default:
      throw invalidArgument(`${instruction} is not a valid change command`, {
        hint: "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR are",
      });
  }
}

/** Exec form when it is a JSON list of texts, else shell form. */
function commandOf(text: string): string[] {
  if (text.startsWith("[")) {
    try {
      const value: unknown = JSON.parse(text);
      if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
    } catch {
      // Docker reads a broken list as a shell command, too.
    }
  }
  return ["/bin/sh", "-c", text];
}

/** Words with quotes and backslashes taken off. */
function words(text: string): string[] {
  const found = text.match(/(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+/g) ?? [];
  return found.map((word) =>
    word.replace(/"((?:[^"\\]|\\.)*)"|'([^']*)'|\\(.)/g, (_, double?: string, single?: string, escaped?: string) =>
      double !== undefined ? double.replace(/\\(["\\$])/g, "$1") : (single ?? escaped ?? ""),
    ),
  );
}

/** `a=b c="d e"`, or the old form `a b c`. */
function pairsOf(text: string, instruction: string): [string, string][] {
  const all = words(text);
  if (!all[0]?.includes("=")) {
    const space = text.search(/\s/);
    if (space < 0) throw invalidArgument(`${instruction} must have two arguments`);
    return [[text.slice(0, space), text.slice(space).trim()]];
  }
  return all.map((word) => {
    const equals = word.indexOf("=");
    if (equals < 1) throw invalidArgument(`${instruction}: "${word}" is not of the form name=value`);
    return [word.slice(0, equals), word.slice(equals + 1)];
  });
}

function portOf(text: string): string {
  const match = /^(\d{1,5})(?:\/(tcp|udp|sctp))?$/i.exec(text);
  if (!match || Number(match[1]) > 65_535) throw invalidArgument(`EXPOSE: "${text}" is not a port`);
  return `${Number(match[1])}/${(match[2] ?? "tcp").toLowerCase()}`;
}
