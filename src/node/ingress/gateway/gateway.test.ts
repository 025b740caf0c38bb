import assert from "node:assert/strict";
import { test } from "node:test";
import type { Asked } from "../listener.ts";
import { byPrecedence, matches, type Entry } from "./matching.ts";
import { loadPatterns } from "./patterns.ts";
import { planGateways, type GatewayWorld } from "./plan.ts";
import { targetOf } from "./target.ts";
import type { Gateway, GatewayListener, HttpRoute, HttpRouteMatch, HttpRouteRule, ReferenceGrant } from "./types.ts";

const asked = (path: string, more: Partial<Asked> = {}): Asked => ({
  host: "shop.example",
  path,
  method: "GET",
  headers: {},
  secure: false,
  ...more,
});
const entry = (hostname: string, match: HttpRouteMatch, name: string, rule: HttpRouteRule = {}): Entry => ({
  hostname,
  match,
  rule,
  route: name,
  created: "2026-01-01",
});

test("precedence: host, exact path, long prefix, method, headers, query, then the name", async () => {
  await loadPatterns();
  const path = (value: string, type = "PathPrefix") => ({ path: { type, value } });
  const entries = byPrecedence([
    entry("", path("/"), "any"),
    entry("*.example", path("/"), "wild"),
    entry("shop.example", path("/"), "root"),
    entry("shop.example", path("/cart"), "cart"),
    entry("shop.example", path("/cart", "Exact"), "exact"),
    entry("shop.example", { ...path("/cart"), method: "POST" }, "post"),
    entry("shop.example", { ...path("/cart"), headers: [{ name: "X-Beta", value: "1" }] }, "beta"),
    entry("shop.example", { ...path("/cart"), queryParams: [{ name: "v", value: "2" }] }, "query"),
    entry("shop.example", path("/item/[0-9]+", "RegularExpression"), "item"),
    entry("shop.example", path("/"), "a-twin"),
  ]);
  const cases: [Asked, string][] = [
    [asked("/cart"), "exact"],
    [asked("/cart/7"), "cart"],
    [asked("/cartography"), "a-twin"],
    [asked("/cart/7", { method: "POST" }), "post"],
    [asked("/cart/7", { headers: { "x-beta": "1" } }), "beta"],
    [asked("/cart/7?v=2"), "query"],
    [asked("/item/42"), "item"],
    [asked("/item/x"), "a-twin"],
    [asked("/", { host: "a.b.example:8080" }), "wild"],
    [asked("/", { host: "example" }), "any"],
  ];
  for (const [request, wanted] of cases)
    assert.equal(entries.find((one) => matches(one, request))?.route, wanted, `${request.host}${request.path}`);
});

test("filters: redirects, rewrites, headers, mirrors; backends by weight", () => {
  const backendRefs = [
    { name: "a", port: 80, weight: 1 },
    { name: "b", port: 80, weight: 3 },
    { name: "off", port: 80, weight: 0 },
  ];
  const around = (random = 0) => ({
    port: 8080,
    random: () => random,
    backend: ({ name }: { name: string }) => ({ host: name, port: 80 }),
  });
  const match = { path: { type: "PathPrefix", value: "/v1/" } };
  const go = (rule: HttpRouteRule, request = asked("/v1/items?x=1"), random = 0) =>
    targetOf(entry("", match, "r", rule), request, around(random));
  assert.deepEqual(
    [0, 1, 3].map((random) => (go({ backendRefs }, undefined, random) as { host: string }).host),
    ["a", "b", "b"],
  );
  assert.equal((go({ backendRefs: [] }) as { status: number }).status, 500);
  const redirect = (requestRedirect: object) => {
    const target = go({ filters: [{ type: "RequestRedirect", requestRedirect }] });
    return "status" in target ? `${target.status} ${target.headers?.["location"]}` : "";
  };
  assert.equal(redirect({ scheme: "https" }), "302 https://shop.example/v1/items?x=1");
  assert.equal(
    redirect({ hostname: "o.example", statusCode: 301, path: { type: "ReplaceFullPath", replaceFullPath: "/x" } }),
    "301 http://o.example:8080/x?x=1",
  );
  const set = [{ name: "X-A", value: "1" }];
  const target = go({
    backendRefs: [{ name: "a", port: 80 }],
    filters: [
      {
        type: "URLRewrite",
        urlRewrite: { hostname: "inner", path: { type: "ReplacePrefixMatch", replacePrefixMatch: "/v2" } },
      },
      { type: "RequestHeaderModifier", requestHeaderModifier: { set } },
      { type: "ResponseHeaderModifier", responseHeaderModifier: { remove: ["Server"] } },
      { type: "RequestMirror", requestMirror: { backendRef: { name: "copy", port: 80 } } },
    ],
  });
  assert.deepEqual((target as { edits: object }).edits, {
    request: [{ set }],
    response: [{ remove: ["Server"] }],
    hostname: "inner",
    path: "/v2/items?x=1",
    mirrors: [{ host: "copy", port: 80 }],
  });
});

const gateway = (listeners: GatewayListener[]): Gateway => ({
  metadata: { name: "main", namespace: "infra" },
  spec: { gatewayClassName: "berth", listeners },
});
const route = (namespace: string, spec: HttpRoute["spec"]): HttpRoute => ({
  metadata: { name: "web", namespace },
  spec: { parentRefs: [{ name: "main", namespace: "infra" }], ...spec },
});
function world(listeners: GatewayListener[], routes: HttpRoute[], grants: ReferenceGrant[] = []): GatewayWorld {
  return {
    gateways: [gateway(listeners)],
    routes,
    grants,
    namespaceLabels: (name) => ({ team: name }),
    hasService: (key) => !key.endsWith("/missing"),
    hasCertificate: (key) => key !== "infra/none",
  };
}
const said = (list: readonly { type: string; reason: string }[]) =>
  list.map(({ type, reason }) => `${type} ${reason}`).join();
const http: GatewayListener = { name: "http", port: 80, protocol: "HTTP" };

test("routes attach where the listener allows it: namespaces, sections, host names in common", () => {
  const reason = (listener: object, spec: HttpRoute["spec"] = {}) =>
    planGateways(world([{ ...http, ...listener }], [route("apps", spec)])).parents[0]!.conditions[0]!.reason;
  const all = { allowedRoutes: { namespaces: { from: "All" } } };
  assert.equal(reason({}), "NotAllowedByListeners");
  assert.equal(reason(all), "Accepted");
  assert.equal(
    reason({ allowedRoutes: { namespaces: { from: "Selector", selector: { matchLabels: { team: "apps" } } } } }),
    "Accepted",
  );
  assert.equal(
    reason({ allowedRoutes: { namespaces: { from: "Selector", selector: { matchLabels: { team: "x" } } } } }),
    "NotAllowedByListeners",
  );
  assert.equal(reason({ ...all, hostname: "*.example" }, { hostnames: ["other.test"] }), "NoMatchingListenerHostname");
  assert.equal(
    reason(all, { parentRefs: [{ name: "main", namespace: "infra", sectionName: "x" }] }),
    "NoMatchingParent",
  );
  const plan = planGateways(
    world(
      [{ ...http, ...all, hostname: "*.example" }],
      [route("apps", { hostnames: ["a.example", "b.test"], rules: [{}] })],
    ),
  );
  const [listener] = plan.listeners.get("infra/main")!;
  assert.deepEqual([listener!.entries.map(({ hostname }) => hostname), listener!.attachedRoutes], [["a.example"], 1]);
});

test("references across namespaces need a ReferenceGrant", () => {
  const all = { ...http, allowedRoutes: { namespaces: { from: "All" } } };
  const rules = (namespace: string, name = "api") => [{ backendRefs: [{ name, namespace, port: 80 }] }];
  const grant = (from: string, kind: string, to: string): ReferenceGrant => ({
    metadata: { name: "g", namespace: "data" },
    spec: { from: [{ group: "gateway.networking.k8s.io", kind, namespace: from }], to: [{ group: "", kind: to }] },
  });
  const reason = (spec: HttpRoute["spec"], grants: ReferenceGrant[] = []) =>
    planGateways(world([all], [route("apps", spec)], grants)).parents[0]!.conditions[1]!.reason;
  assert.equal(reason({ rules: rules("apps") }), "ResolvedRefs");
  assert.equal(reason({ rules: rules("apps", "missing") }), "BackendNotFound");
  assert.equal(reason({ rules: rules("data") }), "RefNotPermitted");
  assert.equal(reason({ rules: rules("data") }, [grant("apps", "HTTPRoute", "Service")]), "ResolvedRefs");
  assert.equal(reason({ rules: rules("data") }, [grant("others", "HTTPRoute", "Service")]), "RefNotPermitted");
  const secure = (name: string, namespace?: string) => ({
    name: "https",
    port: 443,
    protocol: "HTTPS",
    tls: { certificateRefs: [{ name, ...(namespace && { namespace }) }] },
  });
  const listener = (one: GatewayListener, grants: ReferenceGrant[] = []) =>
    said(planGateways(world([one], [], grants)).listeners.get("infra/main")![0]!.conditions);
  const fine = "Accepted Accepted,ResolvedRefs ResolvedRefs,Programmed Programmed,Conflicted NoConflicts";
  assert.equal(listener(secure("cert")), fine);
  assert.match(listener(secure("none")), /InvalidCertificateRef,Programmed Invalid/);
  assert.match(listener(secure("cert", "data")), /RefNotPermitted/);
  assert.equal(listener(secure("cert", "data"), [grant("infra", "Gateway", "Secret")]), fine);
  assert.match(listener({ ...http, protocol: "TCP" }), /UnsupportedProtocol/);
});
