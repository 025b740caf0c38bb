import { messageOf } from "../../../base/index.ts";
import type { ActionResult } from "./result.ts";

/** The gRPC health protocol (https://github.com/grpc/grpc/blob/master/doc/health-checking.md): one string in, one enum out. */
const SERVING = 1;

export async function grpcAction(
  host: string,
  port: number,
  service: string,
  deadlineMs: number,
): Promise<ActionResult> {
  const grpc = await import("@grpc/grpc-js");
  const client = new grpc.Client(`${host}:${port}`, grpc.credentials.createInsecure());
  try {
    const status = await new Promise<number>((resolve, reject) => {
      client.makeUnaryRequest(
        "/grpc.health.v1.Health/Check",
        (name: string) => encodeRequest(name),
        (bytes: Buffer) => (bytes[0] === 0x08 ? (bytes[1] ?? 0) : 0),
        service,
        new grpc.Metadata(),
        { deadline: deadlineMs },
        (error, answer) => (error ? reject(error) : resolve(answer ?? 0)),
      );
    });
    if (status === SERVING) return { ok: true, output: "service is SERVING" };
    return {
      ok: false,
      output: `service unhealthy (responded with "${["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"][status] ?? status}")`,
    };
  } catch (error) {
    return { ok: false, output: `error: health rpc failed: ${messageOf(error)}` };
  } finally {
    client.close();
  }
}

function encodeRequest(service: string): Buffer {
  const bytes = Buffer.from(service);
  return bytes.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a, bytes.length]), bytes]);
}
