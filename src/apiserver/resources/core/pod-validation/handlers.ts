import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { mustBeSet, portNumberOrName } from "../../shared/checks.ts";
import { forbidden, invalid, nonNegative, oneOf, required } from "../../shared/field-errors.ts";

/** What probes and lifecycle hooks do, and probes' numbers. */
type Handler = k8s.LifecycleHandler & { grpc?: k8s.GRPCAction };

function validateHttpGet(action: k8s.HTTPGetAction, at: string): FieldError[] {
  const headers = (action.httpHeaders ?? []).filter(({ name }) => !/^[-A-Za-z0-9]+$/.test(name ?? ""));
  return [
    ...mustBeSet(`${at}.path`, action.path),
    ...portNumberOrName(`${at}.port`, action.port),
    ...oneOf(`${at}.scheme`, action.scheme, ["HTTP", "HTTPS"]),
    ...headers.map(({ name }) =>
      invalid(
        `${at}.httpHeaders`,
        name ?? "",
        "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')",
      ),
    ),
  ];
}

function validateSleep(action: k8s.SleepAction, at: string, graceSeconds: number): FieldError[] {
  if (action.seconds >= 0 && action.seconds <= graceSeconds) return [];
  const detail = `must be non-negative and less than terminationGracePeriodSeconds (${graceSeconds})`;
  return [invalid(at, action.seconds, detail)];
}

function validateHandler(handler: Handler, at: string, graceSeconds: number): FieldError[] {
  const { exec, httpGet, tcpSocket, grpc, sleep } = handler;
  const checks: readonly [string, object | undefined, () => FieldError[]][] = [
    ["exec", exec, () => ((exec!.command ?? []).length === 0 ? [required(`${at}.exec.command`)] : [])],
    ["httpGet", httpGet, () => validateHttpGet(httpGet!, `${at}.httpGet`)],
    ["tcpSocket", tcpSocket, () => portNumberOrName(`${at}.tcpSocket.port`, tcpSocket!.port)],
    ["grpc", grpc, () => portNumberOrName(`${at}.grpc.port`, grpc!.port)],
    ["sleep", sleep, () => validateSleep(sleep!, `${at}.sleep`, graceSeconds)],
  ];
  const given = checks.filter(([, action]) => action !== undefined);
  if (given.length === 0) return [required(at, "must specify a handler type")];
  return given.flatMap(([name, , check], index) =>
    index === 0 ? check() : [forbidden(`${at}.${name}`, "may not specify more than 1 handler type")],
  );
}

export const validateLifecycle = (
  lifecycle: k8s.Lifecycle | undefined,
  at: string,
  graceSeconds: number,
): FieldError[] => [
  ...(lifecycle?.postStart ? validateHandler(lifecycle.postStart, `${at}.postStart`, graceSeconds) : []),
  ...(lifecycle?.preStop ? validateHandler(lifecycle.preStop, `${at}.preStop`, graceSeconds) : []),
];

const numbers = [
  "initialDelaySeconds",
  "timeoutSeconds",
  "periodSeconds",
  "successThreshold",
  "failureThreshold",
] as const;

export type ProbeName = "livenessProbe" | "readinessProbe" | "startupProbe";

export function validateProbe(container: k8s.Container, name: ProbeName, parent: string, grace: number): FieldError[] {
  const probe = container[name];
  if (probe === undefined) return [];
  const at = `${parent}.${name}`;
  const errors = validateHandler(probe, at, grace);
  for (const field of numbers) errors.push(...nonNegative(`${at}.${field}`, probe[field]));
  const ownGrace = probe.terminationGracePeriodSeconds;
  if (ownGrace !== undefined && ownGrace <= 0)
    errors.push(invalid(`${at}.terminationGracePeriodSeconds`, ownGrace, "must be greater than 0"));
  if (name === "readinessProbe") {
    if (ownGrace !== undefined)
      errors.push(invalid(`${at}.terminationGracePeriodSeconds`, ownGrace, "must not be set for readinessProbes"));
  } else if (probe.successThreshold !== undefined && probe.successThreshold !== 1) {
    errors.push(invalid(`${at}.successThreshold`, probe.successThreshold, "must be 1"));
  }
  return errors;
}
