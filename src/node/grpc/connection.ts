import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import {
  conflict,
  alreadyExists,
  deadlineExceeded,
  failedPrecondition,
  hasCode,
  internal,
  invalidArgument,
  notFound,
  notImplemented,
  permissionDenied,
  unauthenticated,
  unavailable,
  type BerthError,
  type Clock,
} from "../../base/index.ts";

// eslint-disable-next-line typescript/no-explicit-any -- Messages as the .proto has them; `from-wire.ts` makes this project's types of them.
export type Wire = Record<string, any>;

export interface CallOptions {
  /** 0: for as long as it takes. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** Upstream's --runtime-request-timeout. */
const REQUEST_TIMEOUT_MS = 120_000;

const ERRORS: Readonly<Partial<Record<grpc.status, (message: string, options: { cause: unknown }) => BerthError>>> = {
  [grpc.status.NOT_FOUND]: notFound,
  [grpc.status.ALREADY_EXISTS]: alreadyExists,
  [grpc.status.ABORTED]: conflict,
  [grpc.status.INVALID_ARGUMENT]: invalidArgument,
  [grpc.status.FAILED_PRECONDITION]: failedPrecondition,
  [grpc.status.PERMISSION_DENIED]: permissionDenied,
  [grpc.status.UNAUTHENTICATED]: unauthenticated,
  [grpc.status.UNAVAILABLE]: unavailable,
  [grpc.status.UNIMPLEMENTED]: notImplemented,
  [grpc.status.DEADLINE_EXCEEDED]: deadlineExceeded,
};

/** Where a service is described: its .proto file, and its full name there (`runtime.v1.ImageService`). */
export interface GrpcService {
  readonly proto: string;
  readonly name: string;
}

/** A client of one service on a socket of this machine. */
export class GrpcConnection {
  readonly #client: grpc.Client;
  readonly #clock: Clock;

  /** `unix:///run/containerd/containerd.sock`. Connects with the first call. */
  constructor(endpoint: string, service: GrpcService, clock: Clock) {
    this.#clock = clock;
    this.#client = new (clientOf(service))(endpoint, grpc.credentials.createInsecure(), {
      "grpc.max_receive_message_length": 64 * 1024 * 1024,
      // No proxy for a socket, whatever the environment says.
      "grpc.enable_http_proxy": 0,
      // One client each, so that what a closed plugin's socket was known for is forgotten with it.
      "grpc.use_local_subchannel_pool": 1,
    });
  }

  /** Throws this project's errors, with the runtime's own words. */
  call(method: string, request: object, { timeoutMs = REQUEST_TIMEOUT_MS, signal }: CallOptions = {}): Promise<Wire> {
    return new Promise((resolve, reject) => {
      const invoke = (this.#client as unknown as Record<string, UnaryMethod>)[method]!.bind(this.#client);
      const options = timeoutMs === 0 ? {} : { deadline: this.#clock.nowMs() + timeoutMs };
      const call = invoke(request, options, (error, answer) => (error ? reject(fromGrpc(error)) : resolve(answer)));
      signal?.addEventListener("abort", () => call.cancel(), { once: true });
    });
  }

  /** A stream of answers, until the signal. */
  async *stream(method: string, request: object, signal: AbortSignal): AsyncGenerator<Wire, void, undefined> {
    const invoke = (this.#client as unknown as Record<string, StreamMethod>)[method]!.bind(this.#client);
    const call = invoke(request);
    const cancel = () => call.cancel();
    signal.addEventListener("abort", cancel, { once: true });
    try {
      for await (const message of call) yield message as Wire;
    } catch (error) {
      if (!signal.aborted) throw fromGrpc(error as grpc.ServiceError);
    } finally {
      signal.removeEventListener("abort", cancel);
    }
  }

  close(): void {
    this.#client.close();
  }
}

const LOADING = { longs: Number, enums: String, defaults: true } as const;

function clientOf({ proto, name }: GrpcService): grpc.ServiceClientConstructor {
  let found: unknown = grpc.loadPackageDefinition(loadSync(proto, LOADING));
  for (const part of name.split(".")) found = (found as Record<string, unknown>)[part];
  return found as grpc.ServiceClientConstructor;
}

/** The methods of a service, for a server. */
export function serviceOf(service: GrpcService): grpc.ServiceDefinition {
  return clientOf(service).service;
}

type UnaryMethod = (
  request: object,
  options: grpc.CallOptions,
  callback: (error: grpc.ServiceError | null, answer: Wire) => void,
) => grpc.ClientUnaryCall;
type StreamMethod = (request: object) => grpc.ClientReadableStream<Wire>;

function fromGrpc(error: grpc.ServiceError): BerthError {
  return (ERRORS[error.code] ?? internal)(error.details || error.message, { cause: error });
}

/** What a call answers, or the other value where the runtime has no such call. */
export async function orWithout<T>(answer: Promise<T>, without: T): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (hasCode(error, "notImplemented")) return without;
    throw error;
  }
}
