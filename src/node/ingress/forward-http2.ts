import type { OutgoingHttpHeaders } from "node:http";
import http2, { type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from "node:http2";
import {
  answer,
  edited,
  unanswered,
  withoutHops,
  type Destination,
  type HeaderEdits,
  type Request,
  type Response,
} from "./messages.ts";

const sessions = new Map<string, ClientHttp2Session>();
/** A backend that nothing was asked of for so long loses its connection. */
const IDLE_MS = 60_000;

interface Http2Request extends Destination {
  readonly path: string;
  readonly headers: OutgoingHttpHeaders;
  readonly edits?: readonly HeaderEdits[] | undefined;
}

/** Streams a request to a backend that speaks HTTP/2 without TLS; trailers come back too, by which gRPC tells its status. */
export function forwardHttp2(request: Request, response: Response, to: Http2Request): void {
  const stream = asked(request, to);
  let trailers: Record<string, string> = {};
  stream.on("response", (reply: IncomingHttpHeaders & { ":status"?: number }) => {
    if (response.headersSent) return stream.close();
    response.writeHead(reply[":status"] ?? 502, edited(withoutHops(reply), to.edits));
    stream.pipe(response, { end: false });
  });
  stream.on("trailers", (fields: IncomingHttpHeaders) => {
    trailers = withoutHops(fields) as Record<string, string>;
  });
  stream.on("end", () => {
    if (Object.keys(trailers).length > 0) response.addTrailers(trailers);
    response.end();
  });
  stream.on("error", (error) => {
    if (response.writableEnded) return;
    if (response.headersSent) response.destroy(error);
    else answer(response, 502, unanswered(to, error));
  });
  response.on("close", () => stream.close());
  request.pipe(stream);
}

/** A copy for somebody whose answer nobody waits for. */
export function copyToHttp2(request: Request, to: Http2Request): void {
  const stream = asked(request, to);
  stream.on("error", () => {});
  stream.resume();
  request.pipe(stream);
}

function asked(request: Request, to: Http2Request): ClientHttp2Stream {
  const { host: authority, ...headers } = to.headers;
  return sessionTo(to).request({
    ...headers,
    // gRPC servers want to be told that trailers are understood; it is the one hop-by-hop header that HTTP/2 has.
    ...(request.headers.te === "trailers" && { te: "trailers" }),
    ":method": request.method ?? "GET",
    ":path": to.path,
    ":scheme": "http",
    ":authority": String(authority ?? `${to.host}:${to.port}`),
  });
}

/** One connection for all requests to a backend; the next request after it has gone makes another. */
function sessionTo({ host, port }: Destination): ClientHttp2Session {
  const url = `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const known = sessions.get(url);
  if (known && !known.closed && !known.destroyed) return known;
  const session = http2.connect(url);
  const forget = () => {
    if (sessions.get(url) === session) sessions.delete(url);
  };
  session.on("error", forget);
  session.on("close", forget);
  session.on("goaway", forget);
  session.setTimeout(IDLE_MS, () => session.close());
  session.unref();
  sessions.set(url, session);
  return session;
}
