import path from "node:path";
import { Readable } from "node:stream";
import { messageOf, systemClock, unavailable } from "../../base/index.ts";
import { root, wait } from "../daemon-process.ts";
import { packContext } from "../commands/images.ts";
import { SocketClient } from "../http.ts";
import type { Instance } from "../instance.ts";
import type { ProgressLine } from "../output/progress.ts";
import { get } from "./requests.ts";
import type { Story } from "./story.ts";

const APP = path.join(root, "examples/flask-app");
const BASE = "python:3.9-slim";
const PORT = 5000;
const ANSWER_TIMEOUT_MS = 20_000;

/** The first act: build the application's image, run it, ask it something. */
export async function dockerAct(story: Story, instance: Instance): Promise<void> {
  const engine = new SocketClient(instance.dockerSocket);
  story.say(
    "Containers. The application is a Dockerfile, a Python file and a list of requirements; its base image first.",
  );
  await baseImage(story, engine);
  story.say("Its image, built from the Dockerfile as it is.");
  await story.act("docker build -t flask-app:latest examples/flask-app", () => buildApp(engine));
  story.say("It runs, with its port published on this machine.");
  let id = "";
  await story.act(`docker run -d --name flask-app -p ${PORT}:${PORT} flask-app`, async () => {
    id = await runApp(engine, { name: "flask-app", port: PORT });
    return id;
  });
  await story.act(`curl http://localhost:${PORT}/`, () => ask(`http://localhost:${PORT}/`));
  await story.act("docker logs flask-app", async () => tail(await logsOf(engine, id), 3));
  await story.act("docker rm -f flask-app", async () => {
    await engine.json("DELETE", `/containers/${id}`, { query: { force: true } });
    return "flask-app";
  });
}

/** From a registry where one can be reached, else made from the operating system's packages; says which. */
async function baseImage(story: Story, engine: SocketClient): Promise<void> {
  const [repository, tag] = BASE.split(":");
  let pulled = true;
  await story.act(`docker pull ${BASE}`, async () => {
    try {
      return lastStatus(await drain(engine.lines("POST", "/images/create", { query: { fromImage: repository, tag } })));
    } catch (error) {
      pulled = false;
      return `${messageOf(error)}`;
    }
  });
  if (pulled) return;
  story.say(
    "No registry can be reached from here. A stand-in with the same name is made from the operating system's own packages.",
  );
  await story.act(`berth image bootstrap ${BASE}`, async () =>
    lastStatus(await drain(engine.lines("POST", "/berth/images/bootstrap", { query: { name: BASE } }))),
  );
}

async function buildApp(engine: SocketClient): Promise<string> {
  const body = Readable.from(packContext(APP, "Dockerfile"));
  const lines = engine.lines<ProgressLine>("POST", "/build?t=flask-app:latest&rm=1", {
    body,
    contentType: "application/x-tar",
  });
  return (await drain(lines))
    .map((line) => line.stream ?? "")
    .join("")
    .replace(/\n{2,}/g, "\n");
}

/** Creates and starts the application, with its port published; the container's id. */
export async function runApp(
  engine: SocketClient,
  { name, port, runtime }: { name: string; port: number; runtime?: string },
): Promise<string> {
  const key = `${PORT}/tcp`;
  const { Id } = await engine.json<{ Id: string }>("POST", "/containers/create", {
    query: { name },
    json: {
      Image: "flask-app",
      ExposedPorts: { [key]: {} },
      HostConfig: { PortBindings: { [key]: [{ HostPort: String(port) }] }, ...(runtime ? { Runtime: runtime } : {}) },
    },
  });
  await engine.json("POST", `/containers/${Id}/start`);
  return Id;
}

/** The application needs a moment until it listens. */
export async function ask(url: string, timeoutMs = ANSWER_TIMEOUT_MS): Promise<string> {
  const deadlineMs = systemClock.monotonicMs() + timeoutMs;
  for (;;) {
    try {
      return await get(url);
    } catch (error) {
      if (systemClock.monotonicMs() > deadlineMs)
        throw unavailable(`${url} does not answer: ${messageOf(error)}`, { cause: error });
      await wait(50);
    }
  }
}

async function logsOf(engine: SocketClient, id: string): Promise<string> {
  const { PassThrough } = await import("node:stream");
  const { demultiplex } = await import("../session.ts");
  const { text } = await import("node:stream/consumers");
  const both = new PassThrough();
  await demultiplex(
    await engine.open("GET", `/containers/${id}/logs`, { query: { stdout: true, stderr: true } }),
    both,
    both,
  );
  both.end();
  return text(both);
}

async function drain(lines: AsyncIterable<ProgressLine>): Promise<ProgressLine[]> {
  const all: ProgressLine[] = [];
  for await (const line of lines) {
    if (line.error !== undefined) throw unavailable(line.error);
    all.push(line);
  }
  return all;
}

function lastStatus(lines: readonly ProgressLine[]): string {
  return lines.findLast((line) => line.status !== undefined || line.stream !== undefined)?.status ?? "";
}

function tail(text: string, count: number): string {
  return text.trimEnd().split("\n").slice(-count).join("\n");
}
