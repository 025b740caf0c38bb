/** Cases of the Gateway API's own conformance suite, by its names, as far as they can be asked of the plan alone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { IpRange } from "../../../base/index.ts";
import type { Asked } from "../listener.ts";
import type { Target } from "../messages.ts";
import { assignAddresses } from "./addresses.ts";
import { isCertificate } from "./certificates.ts";
import { httpOfGrpc } from "./grpc.ts";
import { byPrecedence, matches, type Entry } from "./matching.ts";
import { loadPatterns } from "./patterns.ts";
import { planGateways } from "./plan.ts";
import { targetOf } from "./target.ts";
import type { Gateway, GatewayListener, GrpcRoute, HttpRoute, HttpRouteFilter, HttpRouteRule } from "./types.ts";

const asked = (path: string, headers: Asked["headers"] = {}): Asked => ({
  host: "any.example",
  path,
  method: "GET",
  headers,
  secure: false,
});
const http: GatewayListener = { name: "http", port: 80, protocol: "HTTP" };
const planned = (listeners: GatewayListener[], routes: HttpRoute[] = []) =>
  planGateways({
    gateways: [{ metadata: { name: "main", namespace: "infra" }, spec: { gatewayClassName: "berth", listeners } }],
    routes,
    grants: [],
    namespaceLabels: () => ({}),
    hasService: () => true,
    hasCertificate: () => true,
  });
const listenerOf = (...listeners: GatewayListener[]) => planned(listeners).listeners.get("infra/main")![0]!;
const reasonOf = (type: string, ...listeners: GatewayListener[]) =>
  listenerOf(...listeners).conditions.find((one) => one.type === type)!.reason;

test("GatewayInvalidRouteKind: kinds that are not served are said, the others are offered", () => {
  const taking = (...kinds: string[]) => ({ ...http, allowedRoutes: { kinds: kinds.map((kind) => ({ kind })) } });
  assert.equal(reasonOf("ResolvedRefs", taking("InvalidRoute")), "InvalidRouteKinds");
  assert.deepEqual(listenerOf(taking("InvalidRoute")).supportedKinds, []);
  assert.equal(reasonOf("ResolvedRefs", taking("InvalidRoute", "HTTPRoute")), "InvalidRouteKinds");
  assert.deepEqual(listenerOf(taking("InvalidRoute", "HTTPRoute")).supportedKinds, ["HTTPRoute"]);
  assert.deepEqual(listenerOf(http).supportedKinds, ["HTTPRoute", "GRPCRoute"]);
});

test("listeners that cannot be told apart are in conflict, and not served", () => {
  const twin = { ...http, name: "twin" };
  assert.equal(reasonOf("Conflicted", http, twin), "HostnameConflict");
  assert.equal(reasonOf("Programmed", http, twin), "Invalid");
  assert.equal(reasonOf("Conflicted", http, { ...twin, protocol: "HTTPS" }), "ProtocolConflict");
  assert.equal(reasonOf("Conflicted", http, { ...twin, hostname: "a.example" }), "NoConflicts");
});

test("GatewayInvalidTLSConfiguration: what is no certificate with its key is told from one", () => {
  const encoded = Buffer.from("Hello world\n").toString("base64");
  assert.equal(isCertificate({ "tls.crt": encoded, "tls.key": encoded }), false);
  assert.equal(isCertificate(undefined), false);
});

function entriesOf(route: HttpRoute): Entry[] {
  const { rules = [] } = route.spec ?? {};
  return byPrecedence(
    rules.flatMap((rule, index) =>
      (rule.matches?.length ? rule.matches : [{}]).map((match) => ({
        hostname: "",
        match,
        rule,
        route: `rule ${index}`,
        created: "",
      })),
    ),
  );
}

test("GRPCExactMethodMatching, GRPCRouteHeaderMatching: calls are found by service, method and metadata", async () => {
  await loadPatterns();
  const route: GrpcRoute = {
    metadata: { name: "calls", namespace: "apps" },
    spec: {
      rules: [
        { matches: [{ method: { service: "echo.Echo", method: "Say" } }] },
        { matches: [{ method: { service: "echo.Echo" } }] },
        { matches: [{ method: { method: "Other" } }] },
        { matches: [{ headers: [{ name: "version", value: "two" }] }] },
        { matches: [{ method: { type: "RegularExpression", service: "v[12]\\.Echo" } }] },
      ],
    },
  };
  const entries = entriesOf(httpOfGrpc(route));
  const found = (path: string, headers?: Asked["headers"]) =>
    entries.find((one) => matches(one, asked(path, headers)))?.route;
  assert.equal(found("/echo.Echo/Say"), "rule 0");
  assert.equal(found("/echo.Echo/Sing"), "rule 1");
  assert.equal(found("/other.Echo/Other"), "rule 2");
  assert.equal(found("/x.Y/Z", { version: "two" }), "rule 3");
  assert.equal(found("/v2.Echo/Z"), "rule 4");
  assert.equal(found("/v3.Echo/Z"), undefined);
});

test("a GRPCRoute attaches where its kind is taken, and grants name it", () => {
  const route = httpOfGrpc({
    metadata: { name: "calls", namespace: "infra" },
    spec: {
      parentRefs: [{ name: "main" }],
      rules: [{ backendRefs: [{ name: "echo", namespace: "other", port: 9000 }] }],
    },
  });
  const reasons = (listener: GatewayListener) =>
    planned([listener], [route]).parents[0]!.conditions.map(({ reason, message }) => `${reason} ${message}`.trim());
  assert.deepEqual(reasons(http), [
    "Accepted",
    "RefNotPermitted no ReferenceGrant in other lets GRPCRoutes of infra use Service echo",
  ]);
  assert.match(reasons({ ...http, allowedRoutes: { kinds: [{ kind: "HTTPRoute" }] } })[0]!, /^NotAllowedByListeners/);
  assert.equal(planned([http], [route]).listeners.get("infra/main")![0]!.entries[0]!.grpc, true);
});

const around = {
  port: 80,
  random: () => 0,
  backend: ({ name }: { name: string }): Target => ({ host: name, port: 80 }),
};
const go = (rule: HttpRouteRule, more: Partial<Entry> = {}) =>
  targetOf({ hostname: "", match: {}, route: "r", created: "", ...more, rule }, asked("/"), around) as {
    status?: number;
    timeoutMs?: number;
    http2?: boolean;
    edits?: { request?: object; mirrors?: object };
  };

test("HTTPRouteTimeoutRequest, -BackendRequest: the shorter one holds, 0s is none", () => {
  const timeouts = (request?: string, backendRequest?: string) =>
    go({
      backendRefs: [{ name: "a" }],
      timeouts: { ...(request && { request }), ...(backendRequest && { backendRequest }) },
    }).timeoutMs;
  assert.equal(timeouts("500ms"), 500);
  assert.equal(timeouts("2s", "1s"), 1_000);
  assert.equal(timeouts("0s"), undefined);
  assert.equal(timeouts("1h30m"), 5_400_000);
});

test("HTTPRouteRequestHeaderModifierBackendWeights, -BackendRequestRedirect: a backend's own filters", () => {
  const header = (value: string): HttpRouteFilter => ({
    type: "RequestHeaderModifier",
    requestHeaderModifier: { set: [{ name: "backend", value }] },
  });
  const { edits } = go({
    filters: [header("rule")],
    backendRefs: [{ name: "a", filters: [header("a")] }, { name: "b" }],
  });
  assert.deepEqual(edits!.request, [
    { set: [{ name: "backend", value: "rule" }] },
    { set: [{ name: "backend", value: "a" }] },
  ]);
  const redirect = { type: "RequestRedirect", requestRedirect: { statusCode: 308, hostname: "else.example" } };
  assert.equal(go({ backendRefs: [{ name: "a", filters: [redirect] }] }).status, 308);
});

test("HTTPRouteRequestPercentageMirror: none of a hundred, and all", () => {
  const mirrored = (percent: number) =>
    go({
      backendRefs: [{ name: "a" }],
      filters: [{ type: "RequestMirror", requestMirror: { backendRef: { name: "m" }, percent } }],
    }).edits!.mirrors;
  assert.equal(mirrored(0), undefined);
  assert.deepEqual(mirrored(1), [{ host: "m", port: 80 }]);
});

test("a filter that is not served refuses the request; a GRPCRoute's backends are asked over HTTP/2", () => {
  assert.equal(go({ backendRefs: [{ name: "a" }], filters: [{ type: "ExtensionRef" }] }).status, 500);
  assert.equal(go({ backendRefs: [{ name: "a" }] }, { grpc: true }).http2, true);
});

test("GatewayStaticAddresses, GatewayOptionalAddressValue: what is asked for, or why not", () => {
  const range = new IpRange("10.9.0.0/29");
  const gateway = (key: string, addresses?: { type?: string; value?: string }[]) => ({
    key,
    spec: { gatewayClassName: "berth", listeners: [], ...(addresses && { addresses }) },
  });
  const assigned = (...gateways: (Gateway & { key: string })[]) => {
    const { addresses, problems } = assignAddresses(gateways, new Map(), range);
    return gateways.map(({ key }) => addresses.get(key) ?? problems.get(key)!.reason).join();
  };
  assert.equal(assigned(gateway("any"), gateway("one", [{ value: "10.9.0.2" }])), "10.9.0.3,10.9.0.2");
  assert.equal(assigned(gateway("open", [{ type: "IPAddress" }])), "10.9.0.2");
  assert.equal(assigned(gateway("x", [{ type: "test/fake-invalid-type", value: "y" }])), "UnsupportedAddress");
  assert.equal(assigned(gateway("x", [{ value: "192.0.2.1" }])), "AddressNotUsable");
  assert.equal(
    assigned(gateway("a", [{ value: "10.9.0.4" }]), gateway("b", [{ value: "10.9.0.4" }])),
    "10.9.0.4,AddressNotUsable",
  );
});
