import type { k8s } from "../../../api/index.ts";
import { checkCel, deviceVariables, estimateCost, MAX_SELECTOR_COST } from "../../../cel/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { forbidden, invalid } from "../shared/field-errors.ts";

/** Selectors of devices must be well typed when they are written, and by estimate cheap enough to be asked of each device. */
export function validateSelectorExpressions(selectors: readonly k8s.DeviceSelector[], at: string): FieldError[] {
  return selectors.flatMap(({ cel }, index) => {
    const here = `${at}[${index}].cel.expression`;
    const expression = cel?.expression ?? "";
    const { checked, problem } = checkCel(expression, deviceVariables);
    if (checked === undefined || problem !== undefined)
      return [invalid(here, expression, `compilation failed: ${problem}`)];
    const { name, kind } = checked.type;
    if (name !== "bool" && kind !== "dyn")
      return [invalid(here, expression, `must evaluate to bool or the unknown type, not ${name}`)];
    if (estimateCost(checked, deviceVariables) > MAX_SELECTOR_COST)
      return [forbidden(here, "too complex, exceeds cost limit")];
    return [];
  });
}

/** Every place of a claim that has selectors. */
export function validateClaimExpressions(spec: k8s.ResourceClaimSpec | undefined, at: string): FieldError[] {
  return (spec?.devices?.requests ?? []).flatMap(({ exactly, firstAvailable = [] }, index) => {
    const here = `${at}.devices.requests[${index}]`;
    return [
      ...validateSelectorExpressions(exactly?.selectors ?? [], `${here}.exactly.selectors`),
      ...firstAvailable.flatMap(({ selectors = [] }, alternative) =>
        validateSelectorExpressions(selectors, `${here}.firstAvailable[${alternative}].selectors`),
      ),
    ];
  });
}
