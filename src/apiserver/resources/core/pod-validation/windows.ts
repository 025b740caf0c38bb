import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { subdomain } from "../../shared/checks.ts";
import { forbidden, invalid, notSupported, required } from "../../shared/field-errors.ts";

/** A Pod's operating system and the fields of Windows: nothing here runs them, yet they are stored and checked. */

const label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
const dnsDomain = new RegExp(`^${label}(?:\\.${label})*$`);
const netBiosDomain = /^[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}$/;
const maxDomain = 256;
const maxUser = 104;
const maxCredentialKiB = 64;

function runAsProblems(name: string): string[] {
  if (name === "") return ["runAsUserName cannot be an empty string"];
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(name)) return ["runAsUserName cannot contain control characters"];
  const parts = name.split("\\");
  if (parts.length > 2) return ["runAsUserName cannot contain more than one backslash"];
  const user = parts.at(-1)!;
  const domain = parts.length === 2 ? parts[0]! : undefined;
  const problems: string[] = [];
  if ((domain ?? "").length >= maxDomain)
    problems.push(`runAsUserName's Domain length must be under ${maxDomain} characters`);
  if (domain !== undefined && !netBiosDomain.test(domain) && !dnsDomain.test(domain))
    problems.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
  if (user === "") problems.push("runAsUserName's User cannot be empty");
  else if (user.length > maxUser)
    problems.push(`runAsUserName's User length must not be longer than ${maxUser} characters`);
  if (/^[. ]+$/.test(user)) problems.push("runAsUserName's User cannot contain only periods or spaces");
  if (/["/\\:;|=,+*?<>@[\]]/.test(user))
    problems.push(`runAsUserName's User cannot contain the following characters: "/\\:;|=,+*?<>@[]`);
  return problems;
}

export function validateWindowsOptions(
  options: k8s.WindowsSecurityContextOptions | undefined,
  at: string,
): FieldError[] {
  if (options === undefined) return [];
  const { gmsaCredentialSpec: spec, runAsUserName } = options;
  const errors = subdomain(`${at}.gmsaCredentialSpecName`, options.gmsaCredentialSpecName);
  if (spec === "")
    errors.push(invalid(`${at}.gmsaCredentialSpec`, spec, "gmsaCredentialSpec cannot be an empty string"));
  else if (spec !== undefined && spec.length > maxCredentialKiB * 1024)
    errors.push(
      invalid(`${at}.gmsaCredentialSpec`, spec, `gmsaCredentialSpec size must be under ${maxCredentialKiB} KiB`),
    );
  if (runAsUserName !== undefined)
    for (const detail of runAsProblems(runAsUserName))
      errors.push(invalid(`${at}.runAsUserName`, runAsUserName, detail));
  return errors;
}

/** Every container of the spec with its path, in upstream's order. */
export function containersOf(spec: k8s.PodSpec, at: string): { container: k8s.Container; path: string }[] {
  const lists = ["initContainers", "containers", "ephemeralContainers"] as const;
  return lists.flatMap((list) =>
    (spec[list] ?? []).map((container, index) => ({
      container: container as k8s.Container,
      path: `${at}.${list}[${index}]`,
    })),
  );
}

export function validateHostProcess(spec: k8s.PodSpec, at: string): FieldError[] {
  const ofPod = spec.securityContext?.windowsOptions?.hostProcess;
  const errors: FieldError[] = [];
  const all = containersOf(spec, at);
  let count = 0;
  for (const { container, path } of all) {
    const own = container.securityContext?.windowsOptions?.hostProcess;
    if (ofPod !== undefined && own !== undefined && own !== ofPod)
      errors.push(
        invalid(
          `${path}.securityContext.windowsOptions.hostProcess`,
          own,
          `pod hostProcess value must be identical if both are specified, was ${ofPod}`,
        ),
      );
    if (own ?? ofPod) count++;
  }
  if (count === 0) return errors;
  if (count !== all.length)
    errors.push(
      invalid(at, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers"),
    );
  if (!spec.hostNetwork)
    errors.push(
      invalid(`${at}.hostNetwork`, false, "hostNetwork must be true if pod contains any hostProcess containers"),
    );
  return errors;
}

const podFieldsOfLinux = ["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"] as const;
const contextFieldsOfLinux = [
  "appArmorProfile",
  "seLinuxOptions",
  "seccompProfile",
  "fsGroup",
  "fsGroupChangePolicy",
  "sysctls",
  "runAsUser",
  "runAsGroup",
  "supplementalGroups",
  "supplementalGroupsPolicy",
] as const;
const containerFieldsOfLinux = [
  "appArmorProfile",
  "seLinuxOptions",
  "seccompProfile",
  "capabilities",
  "readOnlyRootFilesystem",
  "privileged",
  "allowPrivilegeEscalation",
  "procMount",
  "runAsUser",
  "runAsGroup",
] as const;

export function validateOs(spec: k8s.PodSpec, at: string): FieldError[] {
  if (spec.os === undefined) return [];
  const { name } = spec.os;
  if (!name) return [required(`${at}.os.name`, "cannot be empty")];
  if (name === "linux") return validateLinux(spec, at);
  if (name === "windows") return validateWindows(spec, at);
  return [notSupported(`${at}.os`, name, ["linux", "windows"])];
}

function validateLinux(spec: k8s.PodSpec, at: string): FieldError[] {
  const detail = "windows options cannot be set for a linux pod";
  const places = [{ path: at, context: spec.securityContext as k8s.SecurityContext | undefined }];
  for (const { container, path } of containersOf(spec, at)) places.push({ path, context: container.securityContext });
  return places
    .filter(({ context }) => context?.windowsOptions !== undefined)
    .map(({ path }) => forbidden(`${path}.securityContext.windowsOptions`, detail));
}

function validateWindows(spec: k8s.PodSpec, at: string): FieldError[] {
  const detail = "cannot be set for a windows pod";
  const errors = podFieldsOfLinux
    .filter((field) => (field === "hostPID" || field === "hostIPC" ? spec[field] : spec[field] !== undefined))
    .map((field) => forbidden(`${at}.${field}`, detail));
  for (const field of contextFieldsOfLinux)
    if (spec.securityContext?.[field] !== undefined) errors.push(forbidden(`${at}.securityContext.${field}`, detail));
  for (const { container, path } of containersOf(spec, at))
    for (const field of containerFieldsOfLinux)
      if (container.securityContext?.[field] !== undefined)
        errors.push(forbidden(`${path}.securityContext.${field}`, detail));
  return errors;
}
