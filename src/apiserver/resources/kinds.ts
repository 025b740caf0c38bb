import type { Schema } from "../../api/index.ts";
import type { Kind, Strategy } from "../machinery/kind.ts";
import { readResourceFacts } from "../schema/facts.ts";
import type { ResourceFacts } from "../schema/facts.ts";
import { admissionregistrationKinds } from "./admissionregistration/index.ts";
import { apiextensionsKinds } from "./apiextensions/index.ts";
import { apiregistrationKinds } from "./apiregistration/index.ts";
import { appsKinds } from "./apps/index.ts";
import { autoscalingV1Kinds, autoscalingV2Kinds } from "./autoscaling/index.ts";
import { batchKinds } from "./batch/index.ts";
import { certificatesKinds } from "./certificates/index.ts";
import { coordinationKinds } from "./coordination/index.ts";
import { coreKinds } from "./core/index.ts";
import { discoveryKinds } from "./discovery/index.ts";
import { eventsKinds } from "./events/index.ts";
import { flowcontrolKinds } from "./flowcontrol/index.ts";
import { networkingKinds } from "./networking/index.ts";
import { nodeKinds } from "./node/index.ts";
import { policyKinds } from "./policy/index.ts";
import { rbacKinds } from "./rbac/index.ts";
import { resourceKinds } from "./resource/index.ts";
import { schedulingKinds } from "./scheduling/index.ts";
import { isDns1123Subdomain } from "./shared/names.ts";
import { validateObjectMeta } from "./shared/object-meta.ts";
import type { GroupKinds, Peculiarities } from "./shared/peculiarities.ts";
import { clearStatus, keepOtherHalf } from "./shared/status.ts";
import { storageKinds } from "./storage/index.ts";

const groups: Readonly<Record<string, GroupKinds>> = {
  "/v1": coreKinds,
  "admissionregistration.k8s.io/v1": admissionregistrationKinds,
  "apiextensions.k8s.io/v1": apiextensionsKinds,
  "apiregistration.k8s.io/v1": apiregistrationKinds,
  "apps/v1": appsKinds,
  "autoscaling/v1": autoscalingV1Kinds,
  "autoscaling/v2": autoscalingV2Kinds,
  "batch/v1": batchKinds,
  "certificates.k8s.io/v1": certificatesKinds,
  "coordination.k8s.io/v1": coordinationKinds,
  "discovery.k8s.io/v1": discoveryKinds,
  "events.k8s.io/v1": eventsKinds,
  "flowcontrol.apiserver.k8s.io/v1": flowcontrolKinds,
  "networking.k8s.io/v1": networkingKinds,
  "node.k8s.io/v1": nodeKinds,
  "policy/v1": policyKinds,
  "rbac.authorization.k8s.io/v1": rbacKinds,
  "resource.k8s.io/v1": resourceKinds,
  "scheduling.k8s.io/v1": schedulingKinds,
  "storage.k8s.io/v1": storageKinds,
};

/** Which version objects are stored in, where a resource is served in several. */
const storageVersions: Readonly<Record<string, string>> = { "autoscaling/horizontalpodautoscalers": "v2" };

/**
 * Every stored resource of v1.34, as data for the machinery. Resources that only answer (reviews, bindings) are endpoints and not here;
 * neither are subresources that act.
 */
export function builtinKinds(): Kind[] {
  const facts = readResourceFacts();
  const subresources = Map.groupBy(
    facts.filter(({ subresource }) => subresource !== ""),
    ({ group, version, plural }) => `${group}/${version}/${plural}`,
  );
  return facts
    .filter(
      ({ subresource, verbs, plural }) =>
        subresource === "" && verbs.includes("list") && plural !== "componentstatuses",
    )
    .map((fact) => makeKind(fact, subresources.get(`${fact.group}/${fact.version}/${fact.plural}`) ?? []));
}

function makeKind(fact: ResourceFacts, subresources: readonly ResourceFacts[]): Kind {
  const { group, version, plural, namespaced, verbs, kind } = fact;
  const own: Peculiarities = groups[`${group}/${version}`]?.[plural] ?? {};
  const names = new Set(subresources.map(({ subresource }) => subresource));
  return {
    group,
    version,
    kind,
    listKind: `${kind}List`,
    plural,
    singular: own.singular ?? kind.toLowerCase(),
    shortNames: own.shortNames ?? [],
    categories: own.categories ?? [],
    namespaced,
    verbs,
    schema: fact.schema as Schema,
    strategy: makeStrategy(own, namespaced, names),
    storageVersion: storageVersions[`${group}/${plural}`] ?? version,
    storedAs: own.storedAs,
    conversion: own.conversion,
  };
}

function makeStrategy(own: Peculiarities, namespaced: boolean, subresources: ReadonlySet<string>): Strategy {
  const {
    checkName = isDns1123Subdomain,
    shortNames: _shortNames,
    categories: _categories,
    singular: _singular,
    storedAs: _storedAs,
    conversion: _conversion,
    bringsStatus = false,
    ...rest
  } = own;
  const hasStatus = subresources.has("status");
  return {
    allowUnconditionalUpdate: true,
    ...rest,
    hasStatus,
    prepareForCreate(object, context) {
      if (hasStatus && !bringsStatus) clearStatus(object);
      own.prepareForCreate?.(object, context);
    },
    prepareForUpdate(object, old, context) {
      if (hasStatus) keepOtherHalf(object, old, context);
      own.prepareForUpdate?.(object, old, context);
    },
    validate: (object, context) => [
      ...validateObjectMeta(object, namespaced, checkName),
      ...(own.validate?.(object, context) ?? []),
    ],
    validateUpdate: (object, old, context) => [
      ...validateObjectMeta(object, namespaced, checkName),
      ...(own.validateUpdate?.(object, old, context) ?? own.validate?.(object, context) ?? []),
    ],
  };
}
