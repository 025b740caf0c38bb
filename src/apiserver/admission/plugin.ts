import type { BerthError } from "../../base/index.ts";
import type { AdmissionRequest, AuthorizationAttributes, Authorizer } from "../machinery/pipeline.ts";
import { decide } from "../machinery/authorize.ts";
import { forbiddenError } from "../machinery/status.ts";

/** What every plugin asks of a request. */
export const isResource = ({ resource }: AdmissionRequest, group: string, plural: string): boolean =>
  resource.group === group && resource.resource === plural;

export const isPodCreate = (request: AdmissionRequest): boolean =>
  request.operation === "CREATE" && request.subresource === "" && isResource(request, "", "pods");

type Asked = Pick<AuthorizationAttributes, "user" | "verb" | "group" | "resource" | "name"> & {
  readonly namespace?: string;
};

/** Whether the user may do something else than what is being asked for. */
export async function isAllowed(authorizers: readonly Authorizer[], asked: Asked): Promise<boolean> {
  const rest = { isResource: true, path: "", version: "v1", subresource: "", tail: "" };
  return (await decide(authorizers, { namespace: "", ...asked, ...rest })).allowed;
}

/** A refusal in upstream's words: `pods "x" is forbidden: why`. */
export function refuse({ resource, name, object }: AdmissionRequest, why: string): BerthError {
  const shown = name || object?.metadata.name || object?.metadata.generateName || "";
  return forbiddenError({ group: resource.group, plural: resource.resource }, shown, why);
}
