import { createHash } from "node:crypto";
import type { Container, Pod } from "./imports.ts";

/** `sidecar` is an init container with restartPolicy Always. */
export type ContainerRole = "init" | "sidecar" | "main" | "ephemeral";

/** No container of it will run any more. */
export function hasEnded({ status }: Pod): boolean {
  return status?.phase === "Succeeded" || status?.phase === "Failed";
}

export function restartableInit(container: Container): boolean {
  return container.restartPolicy === "Always";
}

/**
 * Changes when the container must be replaced. In place of the whole spec only the image counts: it is the one field of a running Pod's
 * container that the API lets change and that needs a new container (resources are resized in place).
 */
export function containerHash(container: Container): string {
  return createHash("sha256")
    .update(JSON.stringify([container.name, container.image]))
    .digest("hex")
    .slice(0, 8);
}

export function allContainers(pod: Pod): Array<{ role: ContainerRole; container: Container }> {
  return [
    ...(pod.spec?.initContainers ?? []).map((container) => ({
      role: restartableInit(container) ? ("sidecar" as const) : ("init" as const),
      container,
    })),
    ...(pod.spec?.containers ?? []).map((container) => ({ role: "main" as const, container })),
    ...(pod.spec?.ephemeralContainers ?? []).map((container) => ({
      role: "ephemeral" as const,
      container: container as Container,
    })),
  ];
}
