import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { descendingPath, each, validId } from "../../shared/checks.ts";
import { duplicate, invalid, notSupported, oneOf, required, tooLong } from "../../shared/field-errors.ts";
import { validateWindowsOptions } from "./windows.ts";

/** Security contexts of Pods and containers. */

const profileTypes = ["Localhost", "RuntimeDefault", "Unconfined"];

function validateSeccomp(profile: k8s.SeccompProfile | undefined, at: string): FieldError[] {
  if (profile === undefined) return [];
  const errors: FieldError[] = [];
  if (!profile.type) errors.push(required(`${at}.type`, "type is required when seccompProfile is set"));
  else if (!profileTypes.includes(profile.type)) errors.push(notSupported(`${at}.type`, profile.type, profileTypes));
  const path = profile.localhostProfile;
  if (profile.type === "Localhost") {
    if (path === undefined)
      errors.push(required(`${at}.localhostProfile`, "must be set when seccomp type is Localhost"));
    else errors.push(...descendingPath(`${at}.localhostProfile`, path));
  } else if (path !== undefined) {
    errors.push(
      invalid(
        `${at}.localhostProfile`,
        { Type: profile.type, LocalhostProfile: path },
        "can only be set when seccomp type is Localhost",
      ),
    );
  }
  return errors;
}

const maxAppArmorNameBytes = 4095;

function validateAppArmor(profile: k8s.AppArmorProfile | undefined, at: string): FieldError[] {
  if (profile === undefined) return [];
  const name = profile.localhostProfile;
  const field = `${at}.localhostProfile`;
  if (!profile.type) return [required(`${at}.type`, "type is required when appArmorProfile is set")];
  if (!profileTypes.includes(profile.type)) return [notSupported(`${at}.type`, profile.type, profileTypes)];
  if (profile.type !== "Localhost")
    return name === undefined ? [] : [invalid(field, name, "can only be set when AppArmor type is Localhost")];
  const errors: FieldError[] = [];
  if (name === undefined || name === "") errors.push(required(field, "must be set when AppArmor type is Localhost"));
  else if (name.trim() !== name) errors.push(invalid(field, name, "must not be padded with whitespace"));
  if ((name ?? "").length > maxAppArmorNameBytes) errors.push(tooLong(field, maxAppArmorNameBytes));
  return errors;
}

const sysctlPattern = /^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$/;
const sysctlWords =
  "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
const ipcSysctls = /^(kernel\.(sem|shm.*|msg.*)|fs\.mqueue\..*)$/;

function validateSysctls(spec: k8s.PodSpec, at: string): FieldError[] {
  const seen = new Set<string>();
  return each(spec.securityContext?.sysctls, at, ({ name }, here) => {
    const field = `${here}.name`;
    const errors: FieldError[] = [];
    if (!name) errors.push(required(field));
    else if (name.length > 253 || !sysctlPattern.test(name)) errors.push(invalid(field, name, sysctlWords));
    else if (seen.has(name)) errors.push(duplicate(field, name));
    const dotted = (name ?? "").replaceAll("/", ".");
    if (spec.hostNetwork && dotted.startsWith("net."))
      errors.push(invalid(field, name, "may not be specified when 'hostNetwork' is true"));
    else if (spec.hostIPC && ipcSysctls.test(dotted))
      errors.push(invalid(field, name, "may not be specified when 'hostIPC' is true"));
    seen.add(name);
    return errors;
  });
}

/** Upstream's validatePodSpecSecurityContext. */
export function validatePodSecurity(spec: k8s.PodSpec, at: string): FieldError[] {
  const context = spec.securityContext;
  if (context === undefined) return [];
  const errors = [
    ...validId(`${at}.fsGroup`, context.fsGroup),
    ...validId(`${at}.runAsUser`, context.runAsUser),
    ...validId(`${at}.runAsGroup`, context.runAsGroup),
    ...each(context.supplementalGroups, `${at}.supplementalGroups`, (group, here) => validId(here, group)),
  ];
  if (spec.shareProcessNamespace && spec.hostPID)
    errors.push(
      invalid(`${at}.shareProcessNamespace`, true, "ShareProcessNamespace and HostPID cannot both be enabled"),
    );
  return [
    ...errors,
    ...validateSysctls(spec, `${at}.sysctls`),
    ...oneOf(`${at}.fsGroupChangePolicy`, context.fsGroupChangePolicy, ["Always", "OnRootMismatch"]),
    ...validateSeccomp(context.seccompProfile, `${at}.seccompProfile`),
    ...validateWindowsOptions(context.windowsOptions, `${at}.windowsOptions`),
    ...validateAppArmor(context.appArmorProfile, `${at}.appArmorProfile`),
    ...oneOf(`${at}.supplementalGroupsPolicy`, context.supplementalGroupsPolicy, ["Merge", "Strict"]),
    ...oneOf(`${at}.seLinuxChangePolicy`, context.seLinuxChangePolicy, ["MountOption", "Recursive"]),
  ];
}

/** Upstream's ValidateSecurityContext: a container's. */
export function validateContainerSecurity(
  context: k8s.SecurityContext | undefined,
  at: string,
  hostUsers: boolean,
): FieldError[] {
  if (context === undefined) return [];
  const errors = [
    ...validId(`${at}.runAsUser`, context.runAsUser),
    ...validId(`${at}.runAsGroup`, context.runAsGroup),
    ...oneOf(`${at}.procMount`, context.procMount, ["Default", "Unmasked"]),
  ];
  if (hostUsers && context.procMount === "Unmasked")
    errors.push(invalid(`${at}.procMount`, "Unmasked", "`hostUsers` must be false to use `Unmasked`"));
  errors.push(...validateSeccomp(context.seccompProfile, `${at}.seccompProfile`));
  if (context.allowPrivilegeEscalation === false) {
    if (context.privileged)
      errors.push(invalid(at, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"));
    if (context.capabilities?.add?.includes("CAP_SYS_ADMIN"))
      errors.push(
        invalid(at, context, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"),
      );
  }
  return [
    ...errors,
    ...validateWindowsOptions(context.windowsOptions, `${at}.windowsOptions`),
    ...validateAppArmor(context.appArmorProfile, `${at}.appArmorProfile`),
  ];
}
