import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../../api/index.ts";
import { certificateFor, route, routingTable } from "./routes.ts";

function ingress(name: string, spec: k8s.IngressSpec, creationTimestamp = "2026-01-01T00:00:00Z"): k8s.Ingress {
  return { metadata: { name, namespace: "default", creationTimestamp }, spec } as k8s.Ingress;
}

/** `service` serves `path` of `host`. */
function rule(host: string, ...paths: [path: string, pathType: string, service: string][]): k8s.IngressRule {
  const http = {
    paths: paths.map(([path, pathType, name]) => ({
      path,
      pathType,
      backend: { service: { name, port: { number: 80 } } },
    })),
  };
  return { ...(host && { host }), http };
}

const service = (rules: k8s.IngressRule[], host: string, path: string) =>
  route(routingTable([ingress("i", { rules })]), host, path)?.service;

test("the specification's examples of paths", () => {
  const cases: [kind: string, path: string, request: string, matches: boolean][] = [
    ["Prefix", "/", "/anything", true],
    ["Exact", "/foo", "/foo", true],
    ["Exact", "/foo", "/bar", false],
    ["Exact", "/foo", "/foo/", false],
    ["Exact", "/foo/", "/foo", false],
    ["Prefix", "/foo", "/foo", true],
    ["Prefix", "/foo", "/foo/", true],
    ["Prefix", "/foo/", "/foo", true],
    ["Prefix", "/aaa/bb", "/aaa/bbb", false],
    ["Prefix", "/aaa/bbb", "/aaa/bbb/ccc", true],
    ["Prefix", "/aaa/bbb", "/aaa/bbbxyz", false],
    ["ImplementationSpecific", "/foo", "/foo/bar?x=/baz", true],
  ];
  for (const [kind, path, request, matches] of cases)
    assert.equal(
      service([rule("", [path, kind, "s"])], "h", request),
      matches ? "s" : undefined,
      `${kind} ${path} ${request}`,
    );
});

test("the longest path wins, Exact before Prefix; a host before its wildcard before no host", () => {
  const rules = [
    rule("", ["/", "Prefix", "any"]),
    rule("*.example.com", ["/", "Prefix", "wild"]),
    rule(
      "a.example.com",
      ["/", "Prefix", "root"],
      ["/x", "Prefix", "x"],
      ["/x", "Exact", "exact"],
      ["/x/y", "Prefix", "y"],
    ),
  ];
  const cases = [
    ["a.example.com", "/", "root"],
    ["A.example.com:8080", "/x", "exact"],
    ["a.example.com", "/x/", "x"],
    ["a.example.com", "/x/y/z", "y"],
    ["b.example.com", "/", "wild"],
    ["b.c.example.com", "/", "any"],
    ["example.com", "/", "any"],
  ] as const;
  for (const [host, path, wanted] of cases) assert.equal(service(rules, host, path), wanted, `${host}${path}`);
});

test("the oldest Ingress keeps a path that two want; the default backend takes the rest; certificates follow hosts", () => {
  const table = routingTable([
    ingress("young", { rules: [rule("a.example", ["/", "Prefix", "young"])] }, "2026-02-01T00:00:00Z"),
    ingress("old", {
      rules: [rule("a.example", ["/", "Prefix", "old"])],
      defaultBackend: { service: { name: "rest", port: { name: "http" } } },
      tls: [{ hosts: ["a.example", "*.b.example"], secretName: "cert" }],
    }),
  ]);
  assert.equal(route(table, "a.example", "/")?.service, "old");
  assert.deepEqual(route(table, "other", "/"), { namespace: "default", service: "rest", port: "http" });
  assert.equal(certificateFor(table, "x.b.example"), "default/cert");
  assert.equal(certificateFor(table, "x.y.b.example"), undefined);
});

test("a redirect to https by annotation; a backend that is no Service is told apart", () => {
  const spec = {
    rules: [
      {
        host: "a.example",
        http: { paths: [{ path: "/", pathType: "Prefix", backend: { resource: { kind: "Bucket", name: "pics" } } }] },
      },
    ],
  };
  const plain = ingress("plain", spec);
  const made = { ...plain, metadata: { ...plain.metadata, annotations: { "berth.dev/ssl-redirect": "true" } } };
  const found = route(routingTable([made]), "a.example", "/");
  assert.deepEqual([found?.toHttps, found?.resource], [true, "Bucket pics"]);
});
