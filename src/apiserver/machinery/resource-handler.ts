import type { ApiResponse, KubeObject } from "../../api/index.ts";
import { decodeObject } from "./body.ts";
import { createObject } from "./create.ts";
import { decodeBody } from "./decode.ts";
import { deleteObject, deleteOptions, deletedStatus } from "./delete.ts";
import type { Kind } from "./kind.ts";
import { listObjects } from "./list.ts";
import { listOptions } from "./list-options.ts";
import { cacheOf, operationOf, present, storeKey, type Core } from "./operation.ts";
import { patchObject } from "./patch.ts";
import type { Call } from "./pipeline.ts";
import { computedResponse, jsonResponse, listResponse, objectResponse, watchResponse } from "./respond.ts";
import { getScale, patchScale, SCALE_COLUMNS, updateScale } from "./scale.ts";
import { badRequestError, methodNotAllowedError, notFoundError, unknownPathError } from "./status.ts";
import { updateObject } from "./update.ts";

/** One request on a stored kind. */
export async function handleResource(core: Core, call: Call, kind: Kind): Promise<ApiResponse> {
  const { info } = call;
  if (kind.strategy.deprecation !== undefined) call.warn(kind.strategy.deprecation);
  if (info.subresource !== "") return handleSubresource(core, call, kind);
  if (!kind.verbs.includes(info.verb)) throw methodNotAllowedError(info.verb);
  if (kind.namespaced && info.namespace === "" && info.verb !== "list" && info.verb !== "watch")
    throw unknownPathError();
  if (!kind.namespaced && info.namespace !== "" && kind.plural !== "namespaces") throw unknownPathError();
  switch (info.verb) {
    case "get":
      return get(core, call, kind);
    case "list":
      return listResponse(core, call, kind, await listObjects(core, kind, listOptions(call, kind)));
    case "watch":
      return watchResponse(core, call, kind, listOptions(call, kind));
    case "create":
      return create(core, call, kind);
    case "update":
      return update(core, call, kind);
    case "patch":
      return patch(core, call, kind);
    case "delete":
      return remove(core, call, kind);
    case "deletecollection":
      return removeAll(core, call, kind);
    default:
      throw methodNotAllowedError(info.verb);
  }
}

function handleSubresource(core: Core, call: Call, kind: Kind): Promise<ApiResponse> {
  const { subresource, verb } = call.info;
  const { strategy } = kind;
  if (subresource === "scale" && strategy.scale) return scale(core, call, kind);
  const known = (subresource === "status" && strategy.hasStatus) || strategy.updateSubresources?.includes(subresource);
  if (!known || call.info.tail !== "") throw unknownPathError();
  if (verb === "get") return get(core, call, kind);
  if (verb === "update") return update(core, call, kind);
  if (verb === "patch") return patch(core, call, kind);
  throw methodNotAllowedError(verb);
}

async function get(core: Core, call: Call, kind: Kind): Promise<ApiResponse> {
  const { namespace, name } = call.info;
  if (call.request.query.get("resourceVersion") !== "0") await core.feed.fresh();
  const entry = cacheOf(core, kind).entries.get(storeKey(kind, namespace, name));
  if (!entry) throw notFoundError(kind, name);
  return objectResponse(core, call, kind, kind.conversion ? await present(kind, entry) : entry);
}

async function create(core: Core, call: Call, kind: Kind): Promise<ApiResponse> {
  const op = operationOf(call, kind, "CreateOptions");
  const object = await decodeObject(call, kind);
  if (call.info.name !== "") throw badRequestError("name must not be set in the path of a create");
  return objectResponse(core, call, kind, await createObject(core, op, object), 201);
}

async function update(core: Core, call: Call, kind: Kind): Promise<ApiResponse> {
  const op = operationOf(call, kind, "UpdateOptions");
  const object = await decodeObject(call, kind);
  if (object.metadata.name && object.metadata.name !== op.name) {
    throw badRequestError(
      `the name of the object (${object.metadata.name}) does not match the name on the URL (${op.name})`,
    );
  }
  // Only a write that names no version is made more than once, and then from the copy that the first one didn't get.
  const { resourceVersion = "0" } = object.metadata;
  const spare = resourceVersion !== "" && resourceVersion !== "0" ? undefined : JSON.stringify(object);
  let first = true;
  const make = () => {
    const mine = first || spare === undefined ? object : (JSON.parse(spare) as typeof object);
    first = false;
    return mine;
  };
  const createIfAbsent = kind.strategy.allowCreateOnUpdate === true;
  const result = await updateObject(core, op, { make, createIfAbsent, track: true, unconditional: true });
  return objectResponse(core, call, kind, result, result.created ? 201 : 200);
}

async function patch(core: Core, call: Call, kind: Kind): Promise<ApiResponse> {
  const result = await patchObject(core, operationOf(call, kind, "PatchOptions"));
  return objectResponse(core, call, kind, result, result.created ? 201 : 200);
}

async function remove(core: Core, call: Call, kind: Kind): Promise<ApiResponse> {
  const options = await readDeleteOptions(call);
  const op = { ...operationOf(call, kind, "DeleteOptions"), dryRun: options.dryRun.length > 0 };
  const { object, gone } = await deleteObject(core, op, options);
  if (!gone || kind.strategy.returnDeletedObject) return objectResponse(core, call, kind, object);
  return jsonResponse(deletedStatus(op, object.object));
}

async function readDeleteOptions(call: Call) {
  const { request } = call;
  const hasBody = request.object !== undefined || (request.body?.length ?? 0) > 0;
  return deleteOptions(hasBody ? (await decodeBody(request, "DeleteOptions")).value : undefined, request.query);
}

async function removeAll(core: Core, call: Call, kind: Kind): Promise<ApiResponse> {
  const options = await readDeleteOptions(call);
  const list = await listObjects(core, kind, listOptions(call, kind));
  for (const { object } of list.items) {
    const { name = "", namespace = "" } = object.metadata;
    const op = { ...operationOf(call, kind, "DeleteOptions"), name, namespace, dryRun: options.dryRun.length > 0 };
    await deleteObject(core, op, options).catch((error: unknown) => {
      if ((error as { code?: string }).code !== "notFound") throw error;
    });
  }
  return listResponse(core, call, kind, list);
}

async function scale(core: Core, call: Call, kind: Kind): Promise<ApiResponse> {
  const op = operationOf(call, kind, "UpdateOptions");
  const answer = (object: KubeObject) => computedResponse(core, call, object, SCALE_COLUMNS);
  switch (call.info.verb) {
    case "get":
      return answer(await getScale(core, op));
    case "update":
      return answer(await updateScale(core, op));
    case "patch":
      return answer(await patchScale(core, op));
    default:
      throw methodNotAllowedError(call.info.verb);
  }
}
