import type { KubeObject } from "../../api/index.ts";
import type { Kind } from "../machinery/kind.ts";
import { storedAsKey } from "../machinery/operation.ts";
import type { AdmissionRequest } from "../machinery/pipeline.ts";

/** A request as a webhook or policy wants to see it: of the resource that its rules name. */
export interface Matched {
  readonly kind: AdmissionRequest["kind"];
  readonly resource: AdmissionRequest["resource"];
  readonly object: KubeObject | undefined;
  readonly oldObject: KubeObject | undefined;
  /** An object as it came: what a webhook has changed in it is kept. */
  readonly back: (object: KubeObject) => Promise<KubeObject>;
}

/** The request itself. */
export const asItIs = ({ kind, resource, object, oldObject }: AdmissionRequest): Matched => ({
  kind,
  resource,
  object,
  oldObject,
  back: (changed) => Promise.resolve(changed),
});

/** Other groups and versions of the objects that a request is about: what one of them is changed by, all of them are. */
export function equivalentKinds(kinds: readonly Kind[], { resource }: AdmissionRequest): Kind[] {
  const own = find(kinds, resource);
  if (own === undefined) return [];
  return kinds.filter((kind) => kind !== own && storedAsKey(kind) === storedAsKey(own));
}

const find = (kinds: readonly Kind[], { group, version, resource }: AdmissionRequest["resource"]): Kind | undefined =>
  kinds.find((kind) => kind.group === group && kind.version === version && kind.plural === resource);

/** The request in another version of its objects. A subresource of a kind of its own (`scale`) stays as it is. */
export async function asVersion(kinds: readonly Kind[], request: AdmissionRequest, to: Kind): Promise<Matched> {
  const { group, version, kind, plural } = to;
  const from = find(kinds, request.resource)!;
  const isOwn = request.kind.kind === from.kind && request.kind.group === from.group;
  const between = async (a: Kind, b: Kind, object: KubeObject): Promise<KubeObject> => {
    const copy = structuredClone(object);
    const [stored] = (await a.conversion?.toStorage([copy])) ?? [copy];
    const [converted] = (await b.conversion?.fromStorage([stored!])) ?? [stored];
    return { ...converted!, apiVersion: apiVersionOf(b), kind: b.kind };
  };
  const convert = (object: KubeObject | undefined) =>
    object === undefined || !isOwn ? Promise.resolve(object) : between(from, to, object);
  return {
    kind: isOwn ? { group, version, kind } : request.kind,
    resource: { group, version, resource: plural },
    object: await convert(request.object),
    oldObject: await convert(request.oldObject),
    back: (changed) => (isOwn ? between(to, from, changed) : Promise.resolve(changed)),
  };
}

const apiVersionOf = ({ group, version }: Kind): string => (group === "" ? version : `${group}/${version}`);
