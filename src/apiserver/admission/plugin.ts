import type { BerthError } from "../../base/index.ts";
import type { AdmissionRequest } from "../machinery/pipeline.ts";
import { forbiddenError } from "../machinery/status.ts";

/** What every plugin asks of a request. */
export const isResource = ({ resource }: AdmissionRequest, group: string, plural: string): boolean =>
  resource.group === group && resource.resource === plural;

export const isPodCreate = (request: AdmissionRequest): boolean =>
  request.operation === "CREATE" && request.subresource === "" && isResource(request, "", "pods");

/** A refusal in upstream's words: `pods "x" is forbidden: why`. */
export function refuse({ resource, name, object }: AdmissionRequest, why: string): BerthError {
  const shown = name || object?.metadata.name || object?.metadata.generateName || "";
  return forbiddenError({ group: resource.group, plural: resource.resource }, shown, why);
}
