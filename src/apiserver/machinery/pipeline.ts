import type { ApiHandler, ApiRequest, ApiResponse, KubeObject, UserInfo } from "../../api/index.ts";
import type { Column } from "./kind.ts";

/**
 * What stands between a request and its handler, as small interfaces that other rooms implement:
 * authn → priority and fairness seat → audit → impersonation → authz → handler (→ admission, within a write).
 * A refusal is a thrown BerthError; `machinery/status.ts` makes the Status of it.
 */

/** What a request is about, told from its path, method and query alone (upstream's RequestInfo). */
export interface RequestInfo {
  readonly isResource: boolean;
  /** get, list, watch, create, update, patch, delete, deletecollection; for anything but resources the method in lower case. */
  readonly verb: string;
  readonly path: string;
  /** "" for the core group and for anything but resources. */
  readonly group: string;
  readonly version: string;
  /** "" for cluster-scoped requests and lists across namespaces. */
  readonly namespace: string;
  readonly resource: string;
  readonly subresource: string;
  readonly name: string;
  /** What follows the subresource: `/api/v1/namespaces/a/pods/b/proxy/x/y` has `x/y`. */
  readonly tail: string;
}

export interface Authenticator {
  /**
   * Who is asking, or undefined when this authenticator finds no credentials of its kind. Throws `unauthenticated` when it finds bad
   * ones. `request.user` is set already for in-process callers and is never overridden.
   */
  authenticate(request: ApiRequest): Promise<UserInfo | undefined> | UserInfo | undefined;
}

export interface AuthorizationAttributes extends RequestInfo {
  readonly user: UserInfo;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

export interface AuthorizationDecision {
  readonly allowed: boolean;
  /** An explicit no, which further authorizers may not overrule. */
  readonly denied?: boolean;
  readonly reason?: string;
}

export interface Authorizer {
  authorize(attributes: AuthorizationAttributes): Promise<AuthorizationDecision> | AuthorizationDecision;
}

export type AdmissionOperation = "CREATE" | "UPDATE" | "DELETE" | "CONNECT";

export interface AdmissionRequest {
  readonly operation: AdmissionOperation;
  readonly kind: { readonly group: string; readonly version: string; readonly kind: string };
  readonly resource: { readonly group: string; readonly version: string; readonly resource: string };
  readonly subresource: string;
  /** "" while a name is still to be generated. */
  readonly name: string;
  readonly namespace: string;
  readonly user: UserInfo;
  readonly dryRun: boolean;
  /** CreateOptions, UpdateOptions, PatchOptions or DeleteOptions, as a plain object with kind and apiVersion. */
  readonly options: Readonly<Record<string, unknown>>;
  /** New state. Mutating admission changes it in place or assigns another. Undefined for DELETE. */
  object: KubeObject | undefined;
  /** Frozen. Undefined for CREATE. */
  readonly oldObject: KubeObject | undefined;
  /** Becomes a `Warning: 299` header. */
  readonly warn: (message: string) => void;
  /** Into the audit event. */
  readonly annotate: (key: string, value: string) => void;
}

/** One admission plugin (or a chain of them). Refuses by throwing: permissionDenied, or invalidArgument with causes. */
export interface Admission {
  mutate?(request: AdmissionRequest): Promise<void> | void;
  validate?(request: AdmissionRequest): Promise<void> | void;
}

/** A turn at the server. Waits its fair share; refuses with `resourceExhausted` and `details.retryAfterSeconds`. */
export interface Fairness {
  /** `headers` get X-Kubernetes-PF-FlowSchema-UID and -PriorityLevel-UID, also when the request is refused. */
  enter(
    info: RequestInfo,
    user: UserInfo,
    signal: AbortSignal | undefined,
    headers: Record<string, string>,
  ): Promise<Seat> | Seat;
}

export interface Seat {
  leave(): void;
}

export interface AuditRecord {
  readonly auditId: string;
  readonly stage: "RequestReceived" | "ResponseStarted" | "ResponseComplete" | "Panic";
  readonly request: ApiRequest;
  readonly info: RequestInfo;
  readonly user: UserInfo;
  readonly impersonated: UserInfo | undefined;
  readonly status: number;
  readonly annotations: Readonly<Record<string, string>>;
  readonly receivedAtMs: number;
  readonly atMs: number;
  /** The answer's object where there is one in memory. */
  readonly responseObject?: unknown;
}

export interface Audit {
  record(record: AuditRecord): void;
}

/** A request past authorization, as handed to endpoints. */
export interface Call {
  readonly request: ApiRequest;
  readonly info: RequestInfo;
  readonly user: UserInfo;
  /** Adds a `Warning: 299` header to the answer. */
  readonly warn: (message: string) => void;
  readonly annotate: (key: string, value: string) => void;
}

/** What an endpoint may do with the server that called it. */
export interface EndpointTools {
  /** The server itself, past authn and authz: requests are made as `system:apiserver` of `system:masters`. */
  readonly loopback: ApiHandler;
  /** The body decoded to an object (JSON, YAML or handed over in process), bounded. */
  decode(call: Call): Promise<KubeObject>;
  /**
   * Changes a stored object of the request's namespace and version, by compare and swap until nobody came between. `make` gets it frozen and
   * may refuse by throwing; nothing but the endpoint checks what it returns, and nobody is said to manage it.
   */
  rewrite(
    call: Call,
    at: { readonly resource: string; readonly name: string },
    make: (old: KubeObject) => KubeObject,
  ): Promise<void>;
  /** Runs admission for what the endpoint is about to do, with operation CONNECT or CREATE. */
  admit(call: Call, operation: AdmissionOperation, object: KubeObject | undefined): Promise<KubeObject | undefined>;
}

/**
 * Anything that isn't a stored object: a subresource that acts (`pods/binding`, `pods/eviction`, `serviceaccounts/token`), a connection
 * (`pods/exec`, `pods/log`, `services/proxy`), or a resource that only answers (`tokenreviews`). Part of discovery like any other.
 * Connections return a `takeover` or `chunks`.
 */
export interface Endpoint {
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  /** "" for a resource of its own. */
  readonly subresource: string;
  readonly namespaced: boolean;
  /** The kind of the body, which may be of another group and version (`policy/v1 Eviction`). */
  readonly kind: { readonly group: string; readonly version: string; readonly kind: string };
  /** As in discovery: create, get, update, patch, delete. For connections the methods' verbs (get, create). */
  readonly verbs: readonly string[];
  readonly shortNames?: readonly string[];
  /** Of tables; name and age by default. */
  readonly columns?: readonly Column[];
  /** Long-running (exec, attach, log, proxy, port-forward): takes no seat and has no deadline. */
  readonly longRunning?: boolean;
  /** Returns an object (answered 200, or 201 to a POST) or a whole response. */
  handle(call: Call, tools: EndpointTools): Promise<KubeObject | ApiResponse>;
}

/** Serves what no kind and no endpoint does (API aggregation, /metrics, /.well-known …). Undefined: not mine. */
export type Fallback = (call: Call) => Promise<ApiResponse | undefined> | ApiResponse | undefined;
