import type { k8s } from "../../../api/index.ts";
import { nameColumn, since, text, wide } from "../shared/columns.ts";
import type { Column } from "../../machinery/kind.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";

type Event = k8s.Event;
type Ref = k8s.ObjectReference;

/** kubectl sorts and shows these; events.k8s.io prints the same ones. */
export const eventColumns: readonly Column[] = [
  text<Event>("Last Seen", lastSeen),
  text<Event>("Type", ({ type }) => type ?? ""),
  text<Event>("Reason", ({ reason }) => reason ?? ""),
  text<Event>("Object", ({ involvedObject }) => objectOf(involvedObject)),
  wide(text<Event>("Subobject", ({ involvedObject }) => involvedObject?.fieldPath ?? "")),
  wide(text<Event>("Source", sourceOf)),
  text<Event>("Message", ({ message }) => (message ?? "").trim()),
  wide(text<Event>("First Seen", firstSeen)),
  wide(text<Event>("Count", ({ count, series }) => String(series?.count ?? (count || 1)))),
  wide(nameColumn),
];

const refField = (field: keyof Ref) => (object: object) =>
  String((object as Event).involvedObject?.[field as keyof Ref] ?? "");

export const event: Peculiarities = {
  shortNames: ["ev"],
  selectableFields: {
    "involvedObject.kind": refField("kind"),
    "involvedObject.namespace": refField("namespace"),
    "involvedObject.name": refField("name"),
    "involvedObject.uid": refField("uid"),
    "involvedObject.apiVersion": refField("apiVersion"),
    "involvedObject.resourceVersion": refField("resourceVersion"),
    "involvedObject.fieldPath": refField("fieldPath"),
    reason: (object) => (object as unknown as Event).reason ?? "",
    reportingComponent: (object) => (object as unknown as Event).reportingComponent ?? "",
    source: (object) =>
      (object as unknown as Event).source?.component || (object as unknown as Event).reportingComponent || "",
    type: (object) => (object as unknown as Event).type ?? "",
  },
  columns: eventColumns,
};

function objectOf(ref: Ref | undefined): string {
  const kind = ref?.kind?.toLowerCase() ?? "";
  return `${kind}/${ref?.name ?? ""}`;
}

function lastSeen({ series, lastTimestamp, eventTime, firstTimestamp }: Event, nowMs: number): string {
  return since(series?.lastObservedTime ?? lastTimestamp ?? firstTimestamp ?? eventTime, nowMs);
}

function firstSeen({ firstTimestamp, eventTime }: Event, nowMs: number): string {
  return since(firstTimestamp ?? eventTime, nowMs);
}

function sourceOf({ source, reportingComponent, reportingInstance }: Event): string {
  const component = source?.component || reportingComponent || "";
  const host = source?.host || reportingInstance || "";
  return host === "" ? component : `${component}, ${host}`;
}
