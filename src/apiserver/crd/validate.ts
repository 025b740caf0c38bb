import type { k8s } from "../../api/index.ts";
import { hasFormat } from "../../cel/formats/index.ts";
import { patternOf } from "../../cel/pattern/index.ts";
import type { FieldError } from "../machinery/kind.ts";
import {
  deepEqual,
  duplicate,
  invalid,
  notSupported,
  required,
  tooLong,
  tooMany,
} from "../resources/shared/field-errors.ts";

type Props = k8s.JSONSchemaProps;

/** Holds a value to a CRD's schema, in the sentences of upstream's validator. Rules in CEL are separate (rules.ts). */
export function validateValue(value: unknown, props: Props | undefined, path: string): FieldError[] {
  if (props === undefined || value === undefined) return [];
  if (value === null && props.nullable === true) return [];
  const wrongType = checkType(value, props, path);
  if (wrongType !== undefined) return [wrongType];
  return [
    ...checkEnum(value, props, path),
    ...(typeof value === "string" ? checkString(value, props, path) : []),
    ...(typeof value === "number" ? checkNumber(value, props, path) : []),
    ...(Array.isArray(value) ? checkArray(value, props, path) : []),
    ...(isObject(value) ? checkObject(value, props, path) : []),
    ...checkCombinations(value, props, path),
  ];
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isIntOrString = (props: Props): boolean =>
  (props as Record<string, unknown>)["x-kubernetes-int-or-string"] === true;

function jsonType(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value === "number" ? (Number.isInteger(value) ? "integer" : "number") : typeof value;
}

function checkType(value: unknown, props: Props, path: string): FieldError | undefined {
  const actual = jsonType(value);
  if (isIntOrString(props)) {
    if (actual === "integer" || actual === "string") return undefined;
    return invalid(path, actual, `${path} in body must be of type integer,string: ${JSON.stringify(actual)}`);
  }
  const wanted = props.type;
  if (wanted === undefined || wanted === actual || (wanted === "number" && actual === "integer")) return undefined;
  return {
    ...invalid(path, actual, `${path} in body must be of type ${wanted}: ${JSON.stringify(actual)}`),
    type: "FieldValueTypeInvalid",
  };
}

function checkEnum(value: unknown, { enum: allowed }: Props, path: string): FieldError[] {
  if (allowed === undefined || allowed.some((item) => deepEqual(item, value))) return [];
  return [
    notSupported(
      path,
      value,
      allowed.map((item) => (typeof item === "string" ? item : JSON.stringify(item))),
    ),
  ];
}

function checkString(value: string, props: Props, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const length = Array.from(value).length;
  if (props.maxLength !== undefined && length > props.maxLength) errors.push(tooLong(path, props.maxLength));
  if (props.minLength !== undefined && length < props.minLength)
    errors.push(invalid(path, value, `${path} in body should be at least ${props.minLength} chars long`));
  if (props.pattern !== undefined && !patternOf(props.pattern)(value))
    errors.push(invalid(path, value, `${path} in body should match '${props.pattern}'`));
  if (props.format !== undefined && !isIntOrString(props) && !hasFormat(value, props.format))
    errors.push(invalid(path, value, `${path} in body must be of type ${props.format}: ${JSON.stringify(value)}`));
  return errors;
}

function checkNumber(value: number, props: Props, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const { maximum, minimum, multipleOf } = props;
  if (maximum !== undefined && (props.exclusiveMaximum === true ? value >= maximum : value > maximum)) {
    const how = props.exclusiveMaximum === true ? "less than" : "less than or equal to";
    errors.push(invalid(path, value, `${path} in body should be ${how} ${maximum}`));
  }
  if (minimum !== undefined && (props.exclusiveMinimum === true ? value <= minimum : value < minimum)) {
    const how = props.exclusiveMinimum === true ? "greater than" : "greater than or equal to";
    errors.push(invalid(path, value, `${path} in body should be ${how} ${minimum}`));
  }
  if (multipleOf !== undefined && !Number.isInteger(value / multipleOf))
    errors.push(invalid(path, value, `${path} in body should be a multiple of ${multipleOf}`));
  return errors;
}

function checkArray(value: readonly unknown[], props: Props, path: string): FieldError[] {
  const errors: FieldError[] = [];
  if (props.maxItems !== undefined && value.length > props.maxItems)
    errors.push(tooMany(path, value.length, props.maxItems));
  if (props.minItems !== undefined && value.length < props.minItems)
    errors.push(invalid(path, value.length, `${path} in body should have at least ${props.minItems} items`));
  for (const [index, item] of value.entries())
    errors.push(...validateValue(item, props.items as Props | undefined, `${path}[${index}]`));
  return [...errors, ...checkListType(value, props, path)];
}

/** Sets hold no value twice, maps no key twice. */
function checkListType(value: readonly unknown[], props: Props, path: string): FieldError[] {
  const fields = props as Record<string, unknown>;
  const listType = fields["x-kubernetes-list-type"];
  if (listType !== "set" && listType !== "map") return [];
  const keys = (fields["x-kubernetes-list-map-keys"] ?? []) as string[];
  const identity = (item: unknown): unknown =>
    listType === "set"
      ? item
      : Object.fromEntries(keys.map((key) => [key, (item as Record<string, unknown> | null)?.[key]]));
  const seen = new Set<string>();
  return value.flatMap((item, index) => {
    const id = JSON.stringify(identity(item));
    if (seen.has(id)) return [duplicate(`${path}[${index}]`, identity(item))];
    seen.add(id);
    return [];
  });
}

const join = (path: string, name: string): string => (path === "" ? name : `${path}.${name}`);

function checkObject(value: Readonly<Record<string, unknown>>, props: Props, path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const name of props.required ?? []) if (value[name] === undefined) errors.push(required(join(path, name)));
  const count = Object.keys(value).length;
  if (props.maxProperties !== undefined && count > props.maxProperties)
    errors.push(tooMany(path, count, props.maxProperties));
  if (props.minProperties !== undefined && count < props.minProperties)
    errors.push(invalid(path, count, `${path} in body should have at least ${props.minProperties} properties`));
  for (const [name, item] of Object.entries(value)) {
    const inner = props.properties?.[name];
    if (inner !== undefined) errors.push(...validateValue(item, inner, join(path, name)));
    else if (typeof props.additionalProperties === "object")
      errors.push(...validateValue(item, props.additionalProperties, join(path, name)));
  }
  return errors;
}

function checkCombinations(value: unknown, props: Props, path: string): FieldError[] {
  const holds = (inner: Props): boolean => validateValue(value, inner, path).length === 0;
  const fail = (what: string): FieldError =>
    invalid(path === "" ? "<nil>" : path, "", `${JSON.stringify(path)} ${what}`);
  const errors: FieldError[] = [];
  for (const inner of props.allOf ?? []) errors.push(...validateValue(value, inner, path));
  if (props.anyOf !== undefined && !isIntOrString(props) && !props.anyOf.some(holds))
    errors.push(fail("must validate at least one schema (anyOf)"));
  if (props.oneOf !== undefined) {
    const good = props.oneOf.filter(holds).length;
    if (good === 0) errors.push(fail("must validate one and only one schema (oneOf). Found none valid"));
    else if (good > 1)
      errors.push(fail(`must validate one and only one schema (oneOf). Found ${good} valid alternatives`));
  }
  if (props.not !== undefined && holds(props.not)) errors.push(fail("must not validate the schema (not)"));
  return errors;
}
