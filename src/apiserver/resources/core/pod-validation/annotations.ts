import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { forbidden, invalid } from "../../shared/field-errors.ts";
import { containersOf } from "./windows.ts";

type Annotations = Readonly<Record<string, string>>;

const mirror = "kubernetes.io/config.mirror";
const deletionCost = "controller.kubernetes.io/pod-deletion-cost";
const appArmorPrefix = "container.apparmor.security.beta.kubernetes.io/";

const isInt32 = (text: string): boolean =>
  /^(0|[-+]?[1-9]\d*)$/.test(text) && !text.startsWith("+") && Math.abs(Number(text)) <= 2_147_483_647;

/** Annotations that mean something to a Pod. */
export function validatePodAnnotations(
  annotations: Annotations | undefined,
  spec: k8s.PodSpec | undefined,
  at: string,
): FieldError[] {
  const given = annotations ?? {};
  const errors: FieldError[] = [];
  if (mirror in given && !spec?.nodeName)
    errors.push(invalid(`${at}[${mirror}]`, given[mirror], "must set spec.nodeName if mirror pod annotation is set"));
  if (deletionCost in given && !isInt32(given[deletionCost]!))
    errors.push(invalid(`${at}[${deletionCost}]`, given[deletionCost], "must be a 32bit integer"));
  for (const [key, profile] of Object.entries(given)) {
    if (!key.startsWith(appArmorPrefix)) continue;
    const name = key.slice(appArmorPrefix.length);
    if (!spec || !containersOf(spec, "").some(({ container }) => container.name === name))
      errors.push(invalid(`${at}[${key}]`, name, "container not found"));
    if (!/^($|runtime\/default$|unconfined$|localhost\/)/.test(profile))
      errors.push(invalid(`${at}[${key}]`, profile, `invalid AppArmor profile name: ${JSON.stringify(profile)}`));
  }
  return errors;
}

/** What may not come, change or go afterwards. */
export function validatePodAnnotationsKept(now: Annotations = {}, old: Annotations = {}, at: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const [key, value] of Object.entries(old)) {
    if (now[key] === value) continue;
    if (key.startsWith(appArmorPrefix))
      errors.push(forbidden(`${at}[${key}]`, "may not remove or update AppArmor annotations"));
    if (key === mirror) errors.push(forbidden(`${at}[${key}]`, "may not remove or update mirror pod annotation"));
  }
  for (const key of Object.keys(now)) {
    if (key in old) continue;
    if (key.startsWith(appArmorPrefix)) errors.push(forbidden(`${at}[${key}]`, "may not add AppArmor annotations"));
    if (key === mirror) errors.push(forbidden(`${at}[${key}]`, "may not add mirror pod annotation"));
  }
  return errors;
}
