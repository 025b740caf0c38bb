import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import type { k8s } from "../../api/index.ts";
import { deadlineExceeded, internal, parseMilli, systemClock } from "../../base/index.ts";
import { draft, resources, type KubeClient, type Stored } from "../../client/index.ts";
import { root, wait } from "../daemon-process.ts";
import { SocketClient } from "../http.ts";
import type { Instance } from "../instance.ts";
import { connect } from "../kubernetes/connection.ts";
import { fetchTable, renderTable } from "../kubernetes/table.ts";
import type { ProgressLine } from "../output/progress.ts";
import { get, Load, type LoadReport } from "./requests.ts";
import type { Story } from "./story.ts";

const MANIFEST = "examples/flask-app/deployment.yaml";
const SECOND_IMAGE = 'FROM flask-app:latest\nENV GREETING="version 2"\n';
const NAMESPACE = "default";
const APP = { name: "flask-app", namespace: NAMESPACE };
const PODS = `/api/v1/namespaces/${NAMESPACE}/pods`;
const STEP_TIMEOUT_MS = 60_000;
const POLL_MS = 50;
const REPLICAS = 3;
const MANY = 10;

/** The second act: the same image, unchanged, as a Deployment behind a Service. */
export async function clusterAct(story: Story, instance: Instance): Promise<void> {
  const cluster = await connect(instance.kubeconfig);
  try {
    const act = new ClusterAct(story, cluster.client, new SocketClient(instance.dockerSocket));
    await act.deploy();
    await act.heal();
    await act.makeRoom();
    await act.roll();
    await act.scale();
    await act.autoscale();
  } finally {
    cluster.close();
  }
}

class ClusterAct {
  readonly #story: Story;
  readonly #client: KubeClient;
  readonly #engine: SocketClient;
  #url = "";

  constructor(story: Story, client: KubeClient, engine: SocketClient) {
    this.#story = story;
    this.#client = client;
    this.#engine = engine;
  }

  async deploy(): Promise<void> {
    const story = this.#story;
    story.say("Orchestration. The same image as three Pods behind one address, from a manifest as it is.");
    await story.act(`kubectl apply -f ${MANIFEST}`, () => this.#apply());
    await story.act("kubectl rollout status deployment/flask-app", async () => {
      await this.#settled(REPLICAS);
      return 'deployment "flask-app" successfully rolled out';
    });
    await story.act("kubectl get pods -l app=flask-app", () => this.#podTable());
    await story.act("kubectl get service flask-service", async () => {
      const service = await this.#until("an address for flask-service", async () => {
        const found = await this.#client.of(resources.services).get({ name: "flask-service", namespace: NAMESPACE });
        return found.status?.loadBalancer?.ingress?.[0]?.ip ? found : undefined;
      });
      this.#url = `http://${service.status!.loadBalancer!.ingress![0]!.ip}/`;
      return renderTable(
        await fetchTable(this.#client, `/api/v1/namespaces/${NAMESPACE}/services`, {
          fieldSelector: "metadata.name=flask-service",
        }),
      );
    });
    await story.act(`for i in $(seq 30); do curl -s ${this.#url}; done | sort | uniq -c`, async () => {
      const answers = await this.#answers(30);
      if (answers.size !== REPLICAS) throw internal(`${answers.size} of ${REPLICAS} Pods answered`);
      return [...answers].map(([answer, count]) => `${String(count).padStart(4)} ${answer}`).join("\n");
    });
  }

  async heal(): Promise<void> {
    const story = this.#story;
    const [first, second] = await this.#pods();
    const { name } = first!.metadata;
    const pid = processOf(first!);
    story.say("A container is killed: it is started again, in the same Pod.");
    await story.act(`kill -9 ${pid}   # the application in ${name}`, async () => {
      process.kill(pid, "SIGKILL");
      await this.#until("the container to run again", async () => {
        const pod = await this.#client.of(resources.pods).get({ name, namespace: NAMESPACE });
        return isReady(pod) && pod.status?.containerStatuses?.[0]?.restartCount === 1;
      });
      return "";
    });
    await story.act("kubectl get pods -l app=flask-app", () => this.#podTable());
    const victim = second!.metadata;
    story.say("A Pod is killed: another one takes its place.");
    await story.act(`kubectl delete pod ${victim.name} --grace-period=1`, async () => {
      await this.#client
        .of(resources.pods)
        .delete(
          { name: victim.name, namespace: NAMESPACE },
          { gracePeriodSeconds: 1, preconditions: { uid: victim.uid } },
        );
      await this.#until("another Pod", async () => {
        const pods = await this.#pods();
        return pods.length === REPLICAS && pods.every((pod) => isReady(pod) && pod.metadata.uid !== victim.uid);
      });
      return `pod "${victim.name}" deleted`;
    });
    await story.act("kubectl get pods -l app=flask-app", () => this.#podTable());
  }

  async roll(): Promise<void> {
    const story = this.#story;
    story.say("A new version while four clients keep asking. Every request is counted, none is repeated.");
    await story.act(
      `printf 'FROM flask-app:latest\\nENV GREETING="version 2"\\n' | docker build -t flask-app:v2 -`,
      () => this.#buildSecond(),
    );
    await story.act("kubectl set image deployment/flask-app flask-container=flask-app:v2", async () => {
      const report = await this.#underLoad(async () => {
        await this.#changeDeployment((spec) => (spec.template.spec!.containers[0]!.image = "flask-app:v2"));
        await this.#settled(REPLICAS);
      });
      return `deployment.apps/flask-app image updated\n${told(report)}`;
    });
    await story.act(`curl ${this.#url}`, () => get(this.#url));
    story.say("Back to the version before, in the same way.");
    await story.act("kubectl rollout undo deployment/flask-app", async () => {
      const report = await this.#underLoad(async () => {
        const previous = await this.#previousTemplate();
        await this.#changeDeployment((spec) => (spec.template = previous));
        await this.#settled(REPLICAS);
      });
      return `deployment.apps/flask-app rolled back\n${told(report)}`;
    });
    await story.act(`curl ${this.#url}`, () => get(this.#url));
  }

  /** Ten Pods, and those of an old version that still have their grace period, may be more than this machine has room for. */
  async makeRoom(): Promise<void> {
    const story = this.#story;
    const [node] = (await this.#client.of(resources.nodes).list()).items;
    const cpuMilli = parseMilli(node?.status?.allocatable?.["cpu"] ?? "0");
    // The first Pods and one that was killed keep what they asked for until they have ended.
    const pods = MANY + 2 * REPLICAS + 1;
    if (cpuMilli >= (pods + REPLICAS) * 250) return;
    const cpu = `${Math.max(10, Math.floor((cpuMilli - (REPLICAS + 1) * 250) / pods / 10) * 10)}m`;
    story.say(
      `What comes next needs more Pods than fit on ${cpuMilli / 1000} processors at a quarter of one each. They ask for less.`,
    );
    await story.act(`kubectl set resources deployment/flask-app --requests=cpu=${cpu}`, async () => {
      await this.#changeDeployment((spec) => {
        const { resources: amounts } = spec.template.spec!.containers[0]!;
        amounts!.requests = { ...amounts!.requests, cpu };
      });
      await this.#settled(REPLICAS);
      return "deployment.apps/flask-app resource requirements updated";
    });
  }

  async scale(): Promise<void> {
    const story = this.#story;
    story.say("From three to ten, and back.");
    for (const replicas of [MANY, REPLICAS])
      await story.act(`kubectl scale deployment/flask-app --replicas=${replicas}`, async () => {
        await this.#client
          .of(resources.deployments)
          .patch(APP, { spec: { replicas } }, { subresource: "scale", fieldManager: "berth-demo" });
        await this.#settled(replicas);
        const answers = await this.#answers(replicas * 10);
        return `deployment.apps/flask-app scaled\n${answers.size} Pods answer`;
      });
  }

  async autoscale(): Promise<void> {
    const story = this.#story;
    story.say(
      "As many as the load needs. (Shrinking normally waits five minutes; here two seconds, so that it can be seen.)",
    );
    await story.act("kubectl apply -f -   # a HorizontalPodAutoscaler: 3 to 6 Pods, half of their CPU", async () => {
      await this.#client.of(resources.horizontalPodAutoscalers).create(AUTOSCALER, { fieldManager: "berth-demo" });
      return "horizontalpodautoscaler.autoscaling/flask-app created";
    });
    await story.act("# sixteen clients ask as fast as they can", async () => {
      const load = new Load(this.#url, { clients: 16, pauseMs: 0 });
      try {
        await this.#until(
          "the autoscaler to add Pods",
          async () => (await this.#deployment()).spec!.replicas! > REPLICAS,
        );
        return await this.#autoscalerTable();
      } finally {
        await load.stop();
      }
    });
    await story.act("# and stop", async () => {
      await this.#until(
        "the autoscaler to remove Pods",
        async () => (await this.#deployment()).spec!.replicas === REPLICAS,
      );
      return this.#autoscalerTable();
    });
  }

  async #apply(): Promise<string> {
    const { loadAll } = await import("js-yaml");
    const documents = loadAll(readFileSync(path.join(root, MANIFEST), "utf8")) as [k8s.Deployment, k8s.Service];
    const lines: string[] = [];
    const options = { kind: "apply", fieldManager: "kubectl", force: true } as const;
    await this.#client.of(resources.deployments).patch(APP, documents[0], options);
    lines.push("deployment.apps/flask-app created");
    await this.#client
      .of(resources.services)
      .patch({ name: documents[1].metadata!.name!, namespace: NAMESPACE }, documents[1], options);
    lines.push("service/flask-service created");
    return lines.join("\n");
  }

  async #buildSecond(): Promise<string> {
    const { pack: createPack } = await import("tar-stream");
    const pack = createPack();
    pack.entry({ name: "Dockerfile" }, SECOND_IMAGE);
    pack.finalize();
    const lines = this.#engine.lines<ProgressLine>("POST", "/build?t=flask-app:v2&rm=1", {
      body: Readable.from(pack as AsyncIterable<Uint8Array>),
      contentType: "application/x-tar",
    });
    let last = "";
    for await (const line of lines) {
      if (line.error !== undefined) throw internal(line.error);
      if (line.stream?.trim()) last = line.stream.trim();
    }
    return last;
  }

  async #underLoad(task: () => Promise<void>): Promise<LoadReport> {
    const load = new Load(this.#url, { clients: 4, pauseMs: 15 });
    try {
      await task();
    } catch (error) {
      await load.stop();
      throw error;
    }
    return load.stop();
  }

  #deployment(): Promise<Stored<k8s.Deployment>> {
    return this.#client.of(resources.deployments).get(APP);
  }

  async #changeDeployment(change: (spec: k8s.DeploymentSpec) => unknown): Promise<void> {
    await this.#until("the Deployment to be changed", async () => {
      const deployment = draft(await this.#deployment());
      change(deployment.spec!);
      return this.#client
        .of(resources.deployments)
        .update(deployment, { fieldManager: "berth-demo" })
        .catch((error: { code?: string }) => {
          // Its controller has written in between: read it again.
          if (error.code !== "conflict") throw error;
          return undefined;
        });
    });
  }

  async #previousTemplate(): Promise<k8s.PodTemplateSpec> {
    const { items } = await this.#client
      .of(resources.replicaSets)
      .list({ namespace: NAMESPACE, labelSelector: "app=flask-app" });
    const revision = (set: k8s.ReplicaSet) =>
      Number(set.metadata?.annotations?.["deployment.kubernetes.io/revision"] ?? 0);
    const before = items.toSorted((left, right) => revision(right) - revision(left))[1];
    if (!before) throw internal("the Deployment has no revision before this one");
    const template = draft(before.spec!.template!);
    delete template.metadata!.labels!["pod-template-hash"];
    return template;
  }

  /** Pods that are not on their way out, by name. */
  async #pods(): Promise<Stored<k8s.Pod>[]> {
    const { items } = await this.#client
      .of(resources.pods)
      .list({ namespace: NAMESPACE, labelSelector: "app=flask-app" });
    return items
      .filter(({ metadata }) => !metadata.deletionTimestamp)
      .toSorted((left, right) => (left.metadata.name < right.metadata.name ? -1 : 1));
  }

  async #podTable(): Promise<string> {
    return renderTable(await fetchTable(this.#client, PODS, { labelSelector: "app=flask-app" }));
  }

  async #autoscalerTable(): Promise<string> {
    return renderTable(
      await fetchTable(this.#client, `/apis/autoscaling/v2/namespaces/${NAMESPACE}/horizontalpodautoscalers`),
    );
  }

  /** As `kubectl rollout status`: the controller has seen the change, and all replicas are new and available. */
  async #settled(replicas: number): Promise<void> {
    await this.#until(`${replicas} ready Pods`, async () => {
      const { metadata, status } = await this.#deployment();
      return (
        (status?.observedGeneration ?? 0) >= metadata.generation! &&
        status?.replicas === replicas &&
        status.updatedReplicas === replicas &&
        status.availableReplicas === replicas
      );
    });
  }

  /** How often each Pod has answered. */
  async #answers(requests: number): Promise<Map<string, number>> {
    const counts = new Map<string, number>();
    for (let at = 0; at < requests; at++) {
      const answer = (await get(this.#url)).trim();
      counts.set(answer, (counts.get(answer) ?? 0) + 1);
    }
    return new Map([...counts].toSorted(([left], [right]) => (left < right ? -1 : 1)));
  }

  async #until<T>(what: string, check: () => Promise<T | undefined | false>): Promise<T> {
    const deadlineMs = systemClock.monotonicMs() + STEP_TIMEOUT_MS;
    for (;;) {
      const found = await check();
      if (found) return found;
      if (systemClock.monotonicMs() > deadlineMs) {
        const pods = await this.#podTable();
        throw deadlineExceeded(`waited ${STEP_TIMEOUT_MS / 1000} s for ${what}\n${pods}`);
      }
      await wait(POLL_MS);
    }
  }
}

const AUTOSCALER: k8s.HorizontalPodAutoscaler = {
  metadata: APP,
  spec: {
    scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: APP.name },
    minReplicas: REPLICAS,
    maxReplicas: 6,
    metrics: [{ type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 50 } } }],
    behavior: { scaleDown: { stabilizationWindowSeconds: 2 } },
  },
};

function isReady(pod: k8s.Pod): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
}

/** The first process of a Pod's container on this machine, by its cgroup. */
function processOf(pod: k8s.Pod): number {
  const id = pod.status?.containerStatuses?.[0]?.containerID?.split("//")[1] ?? "";
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const found = pids.find((pid) => {
    try {
      return id !== "" && readFileSync(`/proc/${pid}/cgroup`, "utf8").includes(id);
    } catch {
      return false;
    }
  });
  if (!found) throw internal(`the process of Pod ${pod.metadata?.name} is not found on this machine`);
  return Number(found);
}

function told({ requests, failed, failures }: LoadReport): string {
  if (failed > 0) throw internal(`${failed} of ${requests} requests failed: ${failures.join("; ")}`);
  return `${requests} requests meanwhile, ${failed} failed`;
}
