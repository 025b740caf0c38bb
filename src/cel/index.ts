/** Kubernetes' expressions: what they mean, whether they are well typed, and what they cost. */
export { admissionVariables } from "./admission-types.ts";
export { Budget, CostExceeded, PER_CALL, PER_MATCH_CONDITIONS, PER_OBJECT } from "./budget.ts";
export type { Checked, Variables } from "./checker.ts";
export { checkCel, compileCel } from "./compile.ts";
export type { Compiled, Program } from "./compile.ts";
export { estimateCost } from "./cost.ts";
export { deviceValue, deviceVariables, MAX_SELECTOR_COST } from "./devices.ts";
export { celMessage } from "./errors.ts";
export { authorizerType, resourceCheckType } from "./declarations.ts";
export { Authorizer, ResourceCheck } from "./libraries/authorizer.ts";
export type { Answer, Ask, Question } from "./libraries/authorizer.ts";
export { Quantity } from "./libraries/quantity.ts";
export { maxCardinality, typeOfSchema } from "./schema-types.ts";
export type { JsonSchema } from "./schema-types.ts";
export * as celTypes from "./types.ts";
export type { CelType } from "./types.ts";
export { toCel } from "./values.ts";
