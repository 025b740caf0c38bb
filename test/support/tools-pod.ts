/** Pods with the machine's own curl, dig and python3 inside: its /usr and libraries, read-only. */
import { podOf } from "./pods.ts";

const FOLDERS = ["/usr", "/lib", "/lib64", "/etc/alternatives"];

/** A web server on TCP and the same on UDP: answers its Pod's name, the client's address and what it was asked (path, headers). */
export const SERVER = `
import http.server, json, os, socket, socketserver, sys, threading
name = os.environ["HOSTNAME"]
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = json.dumps({"name": name, "client": self.client_address[0], "path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
class Server6(Server):
    address_family = socket.AF_INET6
    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()
class Echo(socketserver.BaseRequestHandler):
    def handle(self): self.request[1].sendto((name + " " + self.client_address[0]).encode(), self.client_address)
for port in map(int, sys.argv[1:]):
    threading.Thread(target=Server(("", port), Handler).serve_forever).start()
    if os.path.exists("/proc/net/if_inet6"): threading.Thread(target=Server6(("::", port), Handler).serve_forever).start()
    threading.Thread(target=socketserver.UDPServer(("", port), Echo).serve_forever).start()
`;

/** A Pod that serves on `ports` (ready when the first one answers), or only waits when there are none. */
export function toolsPod(
  name: string,
  labels: Record<string, string> = {},
  ports: readonly number[] = [],
  spec: Record<string, unknown> = {},
): { metadata: Record<string, unknown> } {
  const volumes = FOLDERS.map((path, index) => ({ name: `host-${index}`, hostPath: { path } }));
  const command = ports.length > 0 ? ["/usr/bin/python3", "-c", SERVER, ...ports.map(String)] : ["sleep", "3600"];
  const container = {
    command,
    ports: ports.map((containerPort, index) => ({ name: index === 0 ? "web" : `web${index}`, containerPort })),
    volumeMounts: FOLDERS.map((mountPath, index) => ({ name: `host-${index}`, mountPath, readOnly: true })),
    ...(ports.length > 0 && {
      readinessProbe: { httpGet: { path: "/", port: ports[0] }, periodSeconds: 1, failureThreshold: 1 },
    }),
  };
  const pod = podOf(name, "", { terminationGracePeriodSeconds: 0, volumes, ...spec }, container) as {
    metadata: Record<string, unknown>;
  };
  return { ...pod, metadata: { ...pod.metadata, labels } };
}
