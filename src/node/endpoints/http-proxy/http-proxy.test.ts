import assert from "node:assert/strict";
import { test } from "node:test";
import { rewriteLinks, throughProxy } from "./links.ts";
import { splitName } from "./target.ts";

test("names carry a scheme and a port", () => {
  assert.deepEqual(splitName("web"), { scheme: "http", name: "web", port: "" });
  assert.deepEqual(splitName("web:8080"), { scheme: "http", name: "web", port: "8080" });
  assert.deepEqual(splitName("https:web:tls"), { scheme: "https", name: "web", port: "tls" });
  assert.deepEqual(splitName("https:web:"), { scheme: "https", name: "web", port: "" });
  for (const wrong of ["ftp:web:1", "a:b:c:d", ":1"])
    assert.throws(() => splitName(wrong), { code: "invalidArgument" });
});

const place = { prefix: "/api/v1/namespaces/a/pods/p/proxy", hosts: ["10.0.0.1:80", "localhost:6443"] };

test("addresses of the page's own server lead through the proxy, once", () => {
  assert.equal(throughProxy("/x?y#z", place), `${place.prefix}/x?y#z`);
  assert.equal(throughProxy("http://10.0.0.1:80/x", place), `${place.prefix}/x`);
  assert.equal(throughProxy("//localhost:6443", place), `${place.prefix}/`);
  for (const kept of ["x/y", "#top", "mailto:a@b", "https://example.com/x", `${place.prefix}/x`])
    assert.equal(throughProxy(kept, place), kept);
});

test("links of a page are rewritten where HTML has addresses, and nothing else", () => {
  const rewritten = (html: string) => rewriteLinks(html, place);
  assert.equal(rewritten('<a href="/rewriteme">test</a>'), `<a href="${place.prefix}/rewriteme">test</a>`);
  assert.equal(
    rewritten("<IMG class=x SRC='/i.png' alt='/no'>"),
    `<IMG class=x SRC='${place.prefix}/i.png' alt='/no'>`,
  );
  assert.equal(rewritten("<script src=/s.js></script>"), `<script src="${place.prefix}/s.js"></script>`);
  for (const kept of [
    '<p title="/x">/x</p>',
    '<a data-href="/x">x</a>',
    '<!-- <a href="/x"> -->',
    "<script>t = '<a href=\"/x\">'</script>",
    '<a href="y">y</a>',
  ])
    assert.equal(rewritten(kept), kept);
});
