import type { k8s } from "../../../api/index.ts";
import { table } from "../../output/table.ts";
import { Lines, pairs } from "./lines.ts";

/** What kubectl says of a Pod that somebody looks at to see why it does not run. */
export function describePod({ metadata, spec, status = {} }: k8s.Pod): Lines {
  const lines = new Lines()
    .add(0, "Name", metadata.name)
    .add(0, "Namespace", metadata.namespace)
    .add(0, "Priority", spec?.priority ?? 0)
    .add(0, "Service Account", spec?.serviceAccountName)
    .add(0, "Node", spec?.nodeName ? [spec.nodeName, status.hostIP].filter(Boolean).join("/") : "<none>")
    .add(0, "Start Time", status.startTime ?? "<unset>")
    .add(0, "Labels", pairs(metadata.labels))
    .add(0, "Annotations", pairs(metadata.annotations, ": "))
    .add(0, "Status", metadata.deletionTimestamp ? `Terminating (since ${metadata.deletionTimestamp})` : status.phase);
  if (status.reason) lines.add(0, "Reason", status.reason);
  if (status.message) lines.add(0, "Message", status.message);
  lines.add(0, "IP", status.podIP ?? "");
  const controller = metadata.ownerReferences?.find((owner) => owner.controller);
  if (controller) lines.add(0, "Controlled By", `${controller.kind}/${controller.name}`);
  const { initContainerStatuses, containerStatuses } = status;
  containers(lines, "Init Containers", spec?.initContainers ?? [], initContainerStatuses ?? []);
  containers(lines, "Containers", spec?.containers ?? [], containerStatuses ?? []);
  const conditions = (status.conditions ?? []).map((one) => [one.type, one.status, one.reason ?? ""]);
  if (conditions.length > 0)
    lines.heading(0, "Conditions").text(1, table(["Type", "Status", "Reason"], conditions).replaceAll(/ +$/gm, ""));
  volumes(lines, spec?.volumes ?? []);
  return lines
    .add(0, "QoS Class", status.qosClass)
    .add(0, "Node-Selectors", pairs(spec?.nodeSelector))
    .add(0, "Tolerations", (spec?.tolerations ?? []).map(toleration));
}

function containers(
  lines: Lines,
  title: string,
  all: readonly k8s.Container[],
  statuses: readonly k8s.ContainerStatus[],
): void {
  if (all.length === 0) return;
  lines.heading(0, title);
  for (const container of all) {
    const status = statuses.find(({ name }) => name === container.name);
    const ports = (container.ports ?? []).map(({ containerPort, protocol = "TCP" }) => `${containerPort}/${protocol}`);
    lines
      .heading(1, container.name)
      .add(2, "Container ID", status?.containerID ?? "")
      .add(2, "Image", container.image)
      .add(2, "Image ID", status?.imageID ?? "")
      .add(2, ports.length > 1 ? "Ports" : "Port", ports.length === 0 ? "<none>" : ports.join(", "));
    if (container.command?.length) lines.heading(2, "Command").text(3, container.command.join("\n"));
    if (container.args?.length) lines.heading(2, "Args").text(3, container.args.join("\n"));
    state(lines, "State", status?.state);
    if (Object.keys(status?.lastState ?? {}).length > 0) state(lines, "Last State", status?.lastState);
    lines.add(2, "Ready", status?.ready ? "True" : "False").add(2, "Restart Count", status?.restartCount ?? 0);
    const { limits, requests } = container.resources ?? {};
    amounts(lines, "Limits", limits);
    amounts(lines, "Requests", requests);
    if (container.env?.length) {
      lines.heading(2, "Environment");
      for (const { name, value, valueFrom } of container.env) lines.add(3, name, valueFrom ? source(valueFrom) : value);
    } else lines.add(2, "Environment", "<none>");
    const mounts = (container.volumeMounts ?? []).map(
      ({ mountPath, name, readOnly }) => `${mountPath} from ${name} (${readOnly ? "ro" : "rw"})`,
    );
    if (mounts.length > 0) lines.heading(2, "Mounts").text(3, mounts.join("\n"));
    else lines.add(2, "Mounts", "<none>");
  }
}

function amounts(lines: Lines, title: string, given: Readonly<Record<string, unknown>> | undefined): void {
  if (!given) return;
  lines.heading(2, title);
  for (const [name, amount] of Object.entries(given)) lines.add(3, name, String(amount));
}

function source({ configMapKeyRef, secretKeyRef, fieldRef, resourceFieldRef }: k8s.EnvVarSource): string {
  if (configMapKeyRef) return `<set to the key '${configMapKeyRef.key}' of config map '${configMapKeyRef.name}'>`;
  if (secretKeyRef) return `<set to the key '${secretKeyRef.key}' in secret '${secretKeyRef.name}'>`;
  return fieldRef ? `(${fieldRef.apiVersion ?? "v1"}:${fieldRef.fieldPath})` : `(${resourceFieldRef?.resource ?? ""})`;
}

function state(lines: Lines, title: string, given: k8s.ContainerState | undefined): void {
  const { running, terminated, waiting } = given ?? {};
  lines.add(2, title, running ? "Running" : terminated ? "Terminated" : "Waiting");
  if (running) lines.add(3, "Started", running.startedAt);
  else if (terminated) {
    if (terminated.reason) lines.add(3, "Reason", terminated.reason);
    if (terminated.message) lines.add(3, "Message", terminated.message.trimEnd());
    lines.add(3, "Exit Code", terminated.exitCode).add(3, "Started", terminated.startedAt);
    lines.add(3, "Finished", terminated.finishedAt);
  } else if (waiting?.reason) lines.add(3, "Reason", waiting.reason);
}

function volumes(lines: Lines, all: readonly k8s.Volume[]): void {
  if (all.length === 0) return;
  lines.heading(0, "Volumes");
  for (const { name, ...kinds } of all) {
    const [type = "", of] = Object.entries(kinds)[0] ?? [];
    lines.heading(1, name).add(2, "Type", type);
    for (const [field, value] of Object.entries((of ?? {}) as Record<string, unknown>))
      if (typeof value === "string" || typeof value === "number" || typeof value === "boolean")
        lines.add(2, field, value);
  }
}

function toleration({ key = "", operator, value, effect, tolerationSeconds }: k8s.Toleration): string {
  const wanted = operator === "Exists" ? (key === "" ? "op=Exists" : " op=Exists") : value ? `=${value}` : "";
  const when = tolerationSeconds === undefined ? "" : ` for ${tolerationSeconds}s`;
  return `${key}${effect ? `:${effect}` : ""}${wanted}${when}`;
}
