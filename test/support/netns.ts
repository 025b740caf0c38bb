/** Processes inside network namespaces, for tests of the network rooms. */
import { spawn, type ChildProcess } from "node:child_process";

const SERVER = `
const [port, text, host] = process.argv.slice(1);
const reply = (from) => text + " " + from.replace("::ffff:", "");
require("node:http").createServer((request, response) => response.end(reply(request.socket.remoteAddress) + "\\n"))
  .listen({ port: Number(port), host, ipv6Only: false }, () => {
    const udp = require("node:dgram").createSocket(host.includes(":") ? "udp6" : "udp4");
    udp.on("message", (message, from) => udp.send(reply(from.address), from.port, from.address));
    udp.bind(Number(port), host, () => console.log("ready"));
  });
`;

const UDP_CLIENT = `
const [host, port] = process.argv.slice(1);
const socket = require("node:dgram").createSocket(host.includes(":") ? "udp6" : "udp4");
socket.on("message", (message) => { console.log(String(message)); process.exit(0); });
socket.on("error", () => process.exit(1));
socket.connect(Number(port), host, () => socket.send("?"));
setTimeout(() => process.exit(1), 1500);
`;

const children = new Set<ChildProcess>();

function inside(netnsPath: string, argv: readonly string[]): ChildProcess {
  const full = netnsPath ? ["nsenter", `--net=${netnsPath}`, ...argv] : [...argv];
  const child = spawn(full[0]!, full.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
  children.add(child);
  child.on("close", () => children.delete(child));
  return child;
}

/** What a command prints inside a namespace (the host's own for an empty path); rejects with its exit code and messages. */
export function runIn(netnsPath: string, argv: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = inside(netnsPath, argv);
    let [out, err] = ["", ""];
    child.stdout!.on("data", (chunk) => (out += chunk));
    child.stderr!.on("data", (chunk) => (err += chunk));
    child.on("error", reject);
    child.on("close", (code) =>
      code === 0 ? resolve(out.trim()) : reject(new Error(`${argv.join(" ")}: exit ${code} ${err.trim()}`)),
    );
  });
}

/** A server on TCP (HTTP) and UDP that answers `text` and the address it sees the client by. Resolves when it listens. */
export function serveIn(netnsPath: string, port: number, text: string, host = "0.0.0.0"): Promise<ChildProcess> {
  const child = inside(netnsPath, [process.execPath, "-e", SERVER, String(port), text, host]);
  return new Promise((resolve, reject) => {
    child.stdout!.once("data", () => resolve(child));
    child.once("close", (code) => reject(new Error(`server ended with ${code}`)));
  });
}

/** The answer of such a server over HTTP. `authority` is host:port. Rejects after 1.5 s. */
export function fetchIn(netnsPath: string, authority: string): Promise<string> {
  return runIn(netnsPath, ["curl", "-sS", "--noproxy", "*", "--max-time", "1.5", `http://${authority}/`]);
}

export function askUdpIn(netnsPath: string, host: string, port: number): Promise<string> {
  return runIn(netnsPath, [process.execPath, "-e", UDP_CLIENT, host, String(port)]);
}

export function digIn(netnsPath: string, ...words: string[]): Promise<string> {
  return runIn(netnsPath, ["dig", "+short", "+time=2", "+tries=1", ...words]);
}

export function killAll(): void {
  for (const child of children) child.kill("SIGKILL");
}
