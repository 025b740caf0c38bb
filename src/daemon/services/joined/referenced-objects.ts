import type { k8s } from "../../../api/index.ts";
import {
  Informer,
  type InformerContext,
  type InformerHandler,
  type Resource,
  type Stored,
} from "../../../client/index.ts";
import type { Copies } from "../../../node/index.ts";

interface Followed<T extends object> {
  readonly informer: Informer<T>;
  readonly stop: AbortController;
}

/**
 * Copies of single ConfigMaps or Secrets, each followed from when it is first asked for: a node may not list them all, but watch those that its Pods name
 * (apiserver/authz/node.ts). One whose namespace has no Pod here any more is let go.
 */
export class ReferencedObjects<T extends { metadata?: { name?: string; namespace?: string } }> implements Copies<T> {
  readonly #context: InformerContext;
  readonly #resource: Resource<T>;
  readonly #pods: Informer<k8s.Pod>;
  readonly #followed = new Map<string, Followed<T>>();
  readonly #handlers: InformerHandler<T>[] = [];

  constructor(context: InformerContext, resource: Resource<T>, pods: Informer<k8s.Pod>, signal: AbortSignal) {
    this.#context = context;
    this.#resource = resource;
    this.#pods = pods;
    pods.onChange({ deleted: ({ metadata }) => this.#forget(metadata.namespace!) });
    signal.addEventListener("abort", () => this.#followed.forEach(({ stop }) => stop.abort()), { once: true });
  }

  /** Undefined until its first list has come. */
  get(key: string): Stored<T> | undefined {
    return (this.#followed.get(key) ?? this.#follow(key)).informer.get(key);
  }

  onChange(handler: InformerHandler<T>): void {
    this.#handlers.push(handler);
    for (const { informer } of this.#followed.values()) tellOf(informer, handler);
  }

  #follow(key: string): Followed<T> {
    const [namespace = "", name = ""] = key.split("/");
    const informer = new Informer(this.#context, this.#resource, { namespace, fieldSelector: `metadata.name=${name}` });
    for (const handler of this.#handlers) tellOf(informer, handler);
    const followed = { informer, stop: new AbortController() };
    this.#followed.set(key, followed);
    void informer.run(followed.stop.signal);
    return followed;
  }

  #forget(namespace: string): void {
    if (this.#pods.inNamespace(namespace).length > 0) return;
    for (const [key, { stop }] of this.#followed) {
      if (!key.startsWith(`${namespace}/`)) continue;
      stop.abort();
      this.#followed.delete(key);
    }
  }
}

/** Its first appearance is a change too: whoever asked before has read it by itself, maybe an older one. */
function tellOf<T extends object>(informer: Informer<T>, handler: InformerHandler<T>): void {
  informer.onChange({ ...handler, added: (object) => handler.updated?.(object, object) });
}
