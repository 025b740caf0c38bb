/** The syntax of names, as every kind here is held to it. */
export {
  isConfigMapKey,
  isDns1035Label,
  isDns1123Label,
  isDns1123Subdomain,
  isEnvVarName,
  isLabelValue,
  isPathSegment,
  isPortName,
  isPortNumber,
  isQualifiedName,
  isRelaxedSubdomain,
} from "../../../api/index.ts";
export type { NameCheck } from "../../../api/index.ts";
