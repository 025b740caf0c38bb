import type { k8s, KubeObject } from "../../../api/index.ts";
import { eventColumns } from "../core/event.ts";
import { eventFromCore, eventToCore } from "./conversion.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";

/**
 * The same objects as core/v1's, under newer names: `regarding` for `involvedObject`, `note` for `message`. Stored as core's.
 * The columns are core's too, and are shown of the converted object.
 */
export const eventsKinds: GroupKinds = {
  events: {
    shortNames: ["ev"],
    storedAs: "/events",
    conversion: {
      toStorage: (objects) => objects.map(eventToCore),
      fromStorage: (objects) => objects.map(eventFromCore),
    },
    selectableFields: {
      "regarding.kind": (object) => (object as k8s.EventsEvent).regarding?.kind ?? "",
      "regarding.namespace": (object) => (object as k8s.EventsEvent).regarding?.namespace ?? "",
      "regarding.name": (object) => (object as k8s.EventsEvent).regarding?.name ?? "",
      "regarding.uid": (object) => (object as k8s.EventsEvent).regarding?.uid ?? "",
      reason: (object) => (object as k8s.EventsEvent).reason ?? "",
      type: (object) => (object as k8s.EventsEvent).type ?? "",
      reportingController: (object) => (object as k8s.EventsEvent).reportingController ?? "",
    },
    columns: eventColumns.map((column) => ({
      ...column,
      cell: (object: KubeObject, nowMs: number) => column.cell(eventToCore(object), nowMs),
    })),
  },
};
