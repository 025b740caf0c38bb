/** An event about a Pod, as upstream words it. */
export interface Happening {
  readonly reason: string;
  readonly message: string;
  readonly pod: string;
  readonly container: string | undefined;
}

interface Rule {
  readonly reason: string;
  /** Of the message; every message when left out. */
  readonly like?: RegExp;
  /** One line: the cause, and the way out. */
  readonly line: string | ((happening: Happening) => string);
}

const OPTIONAL = "create it in the Pod's namespace, or mark the reference optional: true";

/** The first that fits counts. */
const RULES: readonly Rule[] = [
  {
    reason: "Failed",
    like: /^Failed to pull image.*(refused|can't be reached|ENOTFOUND|timed out|no such host)/s,
    line: "the registry does not answer; check its name and that it runs, or docker build the image under this name: local images need no registry",
  },
  {
    reason: "Failed",
    like: /^Failed to pull image.*(unauthorized|denied|authentication|forbidden)/is,
    line: "the registry wants other credentials; name a Secret of kubectl create secret docker-registry in imagePullSecrets",
  },
  {
    reason: "Failed",
    like: /^Failed to pull image.*(not found|unknown|no such)/is,
    line: "the registry has no such image; check name and tag, or docker build it here under this name",
  },
  {
    reason: "Failed",
    like: /^Failed to pull image/,
    line: "try docker pull with the same name, which says more",
  },
  {
    reason: "BackOff",
    like: /^Back-off pulling image/,
    line: "the last pull failed, see the event Failed; the next try finds the image as soon as it can be pulled or is built here",
  },
  {
    reason: "InspectFailed",
    line: "this is no image name; write [REGISTRY/]NAME[:TAG] in lower case",
  },
  {
    reason: "ErrImageNeverPull",
    line: "with imagePullPolicy Never only images of this machine count; docker build -t or docker pull it",
  },
  {
    reason: "Failed",
    like: /(configmap|secret) "[^"]*" not found/,
    line: `the container's environment takes values from it; ${OPTIONAL}`,
  },
  {
    reason: "Failed",
    like: /couldn't find key/,
    line: "the object is there, the key is not; compare with kubectl describe, or mark the reference optional: true",
  },
  {
    reason: "Failed",
    like: /non-root|runAsNonRoot/,
    line: "runAsNonRoot forbids uid 0; set securityContext.runAsUser to a number above 0, or give the image a numeric USER",
  },
  {
    reason: "Failed",
    like: /seccomp profile/,
    line: "Localhost profiles are files below the folder kubelet/seccomp of berth's data; put it there, or take RuntimeDefault",
  },
  {
    reason: "Failed",
    like: /executable file not found|no such file or directory/,
    line: "the image has no such program; check command (it replaces the image's ENTRYPOINT) and args (they replace its CMD)",
  },
  {
    reason: "Failed",
    like: /permission denied/,
    line: "the file may not be executed by the container's user; check its mode and runAsUser",
  },
  {
    reason: "BackOff",
    like: /^Back-off restarting/,
    line: ({ pod, container }) => `it ended each time; its last words: kubectl logs ${pod} -c ${container} --previous`,
  },
  {
    reason: "OOMKilled",
    line: "raise resources.limits.memory, or let it use less",
  },
  {
    reason: "FailedMount",
    like: /(configmap|secret) "[^"]*" not found|non-existent (config|secret) key/,
    line: `the volume shows it as files; ${OPTIONAL}`,
  },
  {
    reason: "FailedMount",
    like: /persistentvolumeclaim "[^"]*" not found/,
    line: "the Pod names a claim that its namespace lacks; create it, or correct claimName",
  },
  {
    reason: "FailedMount",
    like: /is not bound/,
    line: "no volume was found or made for the claim; kubectl describe pvc says why",
  },
  {
    reason: "FailedMount",
    like: /hostPath type check failed/,
    line: "the machine has something else, or nothing, at this path; correct it, or take type DirectoryOrCreate or FileOrCreate",
  },
  {
    reason: "FailedMount",
    like: /path "[^"]*" does not exist/,
    line: "the directory of the volume is gone from this machine; create it, or delete the claim and its volume",
  },
  {
    reason: "FailedMount",
    like: /not found in the list of registered CSI drivers/,
    line: "the driver's node plugin does not run here; look at its DaemonSet, and that its registrar has the folder plugins_registry",
  },
  {
    reason: "UnexpectedAdmissionError",
    like: /requested number of devices unavailable/,
    line: "fewer healthy devices are free here than the Pod's limits ask for; leave the choice of the node to the scheduler, which waits for them",
  },
  {
    reason: "FailedPrepareDynamicResources",
    like: /DRA driver \S+ is not registered/,
    line: "the driver's node plugin does not run here; look at its DaemonSet, and that it has the folder plugins_registry",
  },
  {
    reason: "FailedPrepareDynamicResources",
    like: /is not allowed to use ResourceClaim/,
    line: "the scheduler reserves claims for Pods; one with nodeName set by hand waits until the claim's status.reservedFor has it",
  },
  {
    reason: "FailedMount",
    like: /has volumeMode (Block|Filesystem), but is specified/,
    line: "a volume of mode Block is for volumeDevices, one of mode Filesystem for volumeMounts",
  },
  {
    reason: "FailedMount",
    like: /has not been attached|is not attached/,
    line: "the driver's attacher has yet to answer; kubectl describe volumeattachment says how far it is",
  },
  {
    reason: "FailedMount",
    like: /subPath/,
    line: "the path leaves the volume or can't be made in it; write it relative, without '..' and links out of the volume",
  },
  {
    reason: "FailedMount",
    like: /not supported by this node/,
    line: "take a claim of storage class local, emptyDir, hostPath, or a CSI driver",
  },
  {
    reason: "FailedCreatePodSandBox",
    like: /no runtime for|runtime handler/i,
    line: "the RuntimeClass names a handler that this node lacks; kubectl get runtimeclass shows the handlers",
  },
  {
    reason: "Unhealthy",
    like: /^Readiness/,
    line: "no Service sends it anything until the probe succeeds",
  },
  {
    reason: "Unhealthy",
    like: /^Liveness/,
    line: "the container is restarted after failureThreshold of these; where it is only slow to start, give it a startupProbe",
  },
  {
    reason: "Unhealthy",
    like: /^Startup/,
    line: "the container is restarted after failureThreshold of these; where it needs longer to start, raise failureThreshold",
  },
  {
    reason: "FailedPostStartHook",
    line: "the container was stopped, since its postStart hook did not succeed; kubectl get pod -o yaml shows what it said",
  },
  {
    reason: "FailedPreStopHook",
    line: "the container is stopped all the same; check the hook's command, and that it fits into terminationGracePeriodSeconds",
  },
  {
    reason: "Evicted",
    like: /EmptyDir|local ephemeral/i,
    line: "what it wrote goes with it; raise the limit that it exceeded, or keep the files in a claim",
  },
  {
    reason: "Evicted",
    line: "the machine runs short of it; free some, and give requests to the Pods that must stay",
  },
  {
    reason: "OutOfcpu",
    line: "lower resources.requests.cpu, or end other Pods; kubectl describe node shows what is taken",
  },
  {
    reason: "OutOfmemory",
    line: "lower resources.requests.memory, or end other Pods; kubectl describe node shows what is taken",
  },
];

/** The message with this project's own line behind it: what to do about it. Upstream's words stay in front, as they are. */
export function withAdvice(happening: Happening): string {
  const { reason, message } = happening;
  const rule = RULES.find((candidate) => candidate.reason === reason && (candidate.like?.test(message) ?? true));
  if (!rule) return message;
  return `${message.trimEnd()} (berth: ${typeof rule.line === "string" ? rule.line : rule.line(happening)})`;
}
