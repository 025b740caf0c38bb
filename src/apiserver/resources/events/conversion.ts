import type { k8s, KubeObject } from "../../../api/index.ts";

/** events.k8s.io/v1 and core/v1 hold the same facts under other names. */
export function eventToCore(object: KubeObject): KubeObject {
  const { regarding, note, reportingController, deprecatedSource, ...rest } = object as k8s.EventsEvent;
  const { deprecatedFirstTimestamp, deprecatedLastTimestamp, deprecatedCount, ...same } = rest;
  return withoutUnset({
    ...same,
    apiVersion: "v1",
    involvedObject: regarding ?? {},
    message: note,
    reportingComponent: reportingController ?? "",
    reportingInstance: same.reportingInstance ?? "",
    source: deprecatedSource ?? {},
    firstTimestamp: deprecatedFirstTimestamp,
    lastTimestamp: deprecatedLastTimestamp,
    count: deprecatedCount,
  });
}

export function eventFromCore(object: KubeObject): KubeObject {
  const { involvedObject, message, reportingComponent, source, ...rest } = object as k8s.Event;
  const { firstTimestamp, lastTimestamp, count, ...same } = rest;
  return withoutUnset({
    ...same,
    apiVersion: "events.k8s.io/v1",
    eventTime: same.eventTime,
    regarding: involvedObject,
    note: message,
    reportingController: reportingComponent,
    deprecatedSource: source,
    deprecatedFirstTimestamp: firstTimestamp,
    deprecatedLastTimestamp: lastTimestamp,
    deprecatedCount: count,
  });
}

function withoutUnset(object: Record<string, unknown>): KubeObject {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as unknown as KubeObject;
}
