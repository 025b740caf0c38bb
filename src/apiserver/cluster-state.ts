import type { ApiHandler, k8s } from "../api/index.ts";
import { hasCode } from "../base/index.ts";
import type { Clock, Logger, Random } from "../base/index.ts";
import { defineResource, Informer, KubeClient, resources } from "../client/index.ts";
import type { AnyObject, Resource, Stored } from "../client/index.ts";

/** Requests of the server to itself. */
const serverUser = { name: "system:apiserver", groups: ["system:masters", "system:authenticated"] };

/** One resource as the server's own plugins see it: an informer that starts when somebody first asks. */
class Mirrored<T extends AnyObject> {
  readonly #start: () => Informer<T>;
  readonly #get: (key: string) => Promise<Stored<T> | undefined>;
  #informer: Informer<T> | undefined;

  constructor(start: () => Informer<T>, get: (key: string) => Promise<Stored<T> | undefined>) {
    this.#start = start;
    this.#get = get;
  }

  /** The local copy, complete as of some moment after the first call. */
  async ready(): Promise<Informer<T>> {
    const informer = (this.#informer ??= this.#start());
    if (!informer.hasSynced) await informer.whenSynced();
    return informer;
  }

  /** The local copy when it has been filled already; plugins on hot paths avoid a needless turn of the event loop. */
  get now(): Informer<T> | undefined {
    return this.#informer?.hasSynced === true ? this.#informer : undefined;
  }

  /** One object by `namespace/name`: from the copy, else asked for, since what was just made may not have come by yet. */
  async find(key: string): Promise<Stored<T> | undefined> {
    const informer = this.now ?? (await this.ready());
    return informer.get(key) ?? (await this.#get(key));
  }
}

const rbac = "rbac.authorization.k8s.io/v1";
const registration = "admissionregistration.k8s.io/v1";

/**
 * What authenticators, authorizers and admission need to know of the cluster, kept by informers over the server's own handler.
 * Nothing starts before it is asked for, so an idle cluster pays only for what it uses.
 */
export class ClusterState {
  readonly client: KubeClient;
  readonly #context: { client: KubeClient; clock: Clock; random: Random; log: Logger };
  readonly #signal: AbortSignal;

  /** `handler` may be one that only works later: nothing is called before the first question. */
  constructor(options: { handler: ApiHandler; clock: Clock; random: Random; log: Logger; signal: AbortSignal }) {
    const { handler, clock, random, log, signal } = options;
    this.client = new KubeClient(handler, { user: serverUser, userAgent: "berth-apiserver" });
    this.#context = { client: this.client, clock, random, log };
    this.#signal = signal;
  }

  readonly namespaces = this.#mirror(resources.namespaces);
  readonly serviceAccounts = this.#mirror(resources.serviceAccounts);
  readonly secrets = this.#mirror(resources.secrets);
  readonly pods = this.#mirror(resources.pods);
  readonly nodes = this.#mirror(resources.nodes);
  readonly limitRanges = this.#mirror(resources.limitRanges);
  readonly resourceQuotas = this.#mirror(resources.resourceQuotas);
  readonly priorityClasses = this.#mirror(resources.priorityClasses);
  readonly runtimeClasses = this.#mirror(resources.runtimeClasses);
  readonly storageClasses = this.#mirror(resources.storageClasses);
  readonly persistentVolumeClaims = this.#mirror(resources.persistentVolumeClaims);
  readonly persistentVolumes = this.#mirror(resources.persistentVolumes);
  readonly clusterRoles = this.#mirror(resources.clusterRoles);
  readonly roles = this.#mirror(defineResource<k8s.Role>(rbac, "roles", "Role"));
  readonly roleBindings = this.#mirror(defineResource<k8s.RoleBinding>(rbac, "rolebindings", "RoleBinding"));
  readonly clusterRoleBindings = this.#mirror(
    defineResource<k8s.ClusterRoleBinding>(rbac, "clusterrolebindings", "ClusterRoleBinding", false),
  );
  readonly ingressClasses = this.#mirror(
    defineResource<k8s.IngressClass>("networking.k8s.io/v1", "ingressclasses", "IngressClass", false),
  );
  readonly flowSchemas = this.#mirror(
    defineResource<k8s.FlowSchema>("flowcontrol.apiserver.k8s.io/v1", "flowschemas", "FlowSchema", false),
  );
  readonly priorityLevels = this.#mirror(
    defineResource<k8s.PriorityLevelConfiguration>(
      "flowcontrol.apiserver.k8s.io/v1",
      "prioritylevelconfigurations",
      "PriorityLevelConfiguration",
      false,
    ),
  );
  readonly customResourceDefinitions = this.#mirror(
    defineResource<k8s.CustomResourceDefinition>(
      "apiextensions.k8s.io/v1",
      "customresourcedefinitions",
      "CustomResourceDefinition",
      false,
    ),
  );
  readonly apiServices = this.#mirror(
    defineResource<k8s.APIService>("apiregistration.k8s.io/v1", "apiservices", "APIService", false),
  );
  readonly mutatingWebhooks = this.#mirror(
    defineResource<k8s.MutatingWebhookConfiguration>(
      registration,
      "mutatingwebhookconfigurations",
      "MutatingWebhookConfiguration",
      false,
    ),
  );
  readonly validatingWebhooks = this.#mirror(
    defineResource<k8s.ValidatingWebhookConfiguration>(
      registration,
      "validatingwebhookconfigurations",
      "ValidatingWebhookConfiguration",
      false,
    ),
  );
  readonly admissionPolicies = this.#mirror(
    defineResource<k8s.ValidatingAdmissionPolicy>(
      registration,
      "validatingadmissionpolicies",
      "ValidatingAdmissionPolicy",
      false,
    ),
  );
  readonly admissionPolicyBindings = this.#mirror(
    defineResource<k8s.ValidatingAdmissionPolicyBinding>(
      registration,
      "validatingadmissionpolicybindings",
      "ValidatingAdmissionPolicyBinding",
      false,
    ),
  );

  #mirror<T extends AnyObject>(resource: Resource<T>): Mirrored<T> {
    const start = (): Informer<T> => {
      const informer = new Informer(this.#context, resource);
      void informer.run(this.#signal);
      return informer;
    };
    return new Mirrored(start, (key) => this.#get(resource, key));
  }

  async #get<T extends AnyObject>(resource: Resource<T>, key: string): Promise<Stored<T> | undefined> {
    const [name = "", namespace] = key.split("/").toReversed();
    try {
      return await this.client.of(resource).get(namespace === undefined ? { name } : { namespace, name });
    } catch (error) {
      if (hasCode(error, "notFound")) return undefined;
      throw error;
    }
  }
}
