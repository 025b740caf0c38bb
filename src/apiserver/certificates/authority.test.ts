import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

import { FakeClock } from "../../base/index.ts";
import { CertificateAuthority } from "./authority.ts";
import { openClusterCertificates } from "./cluster.ts";

const nowMs = Date.parse("2026-01-01T00:00:00Z");

test("an authority's certificates verify, name their subject and say what they are for", () => {
  const authority = CertificateAuthority.create("test-ca", nowMs);
  const root = new X509Certificate(authority.pair.cert);
  assert.equal(root.ca, true);
  assert.equal(root.verify(root.publicKey), true);
  const { cert } = authority.issue({
    subject: { commonName: "jane", organizations: ["dev", "ops"] },
    usages: ["client", "server"],
    names: ["localhost", "127.0.0.1", "::1"],
    notBeforeMs: nowMs,
    notAfterMs: nowMs + 86_400_000,
  });
  const leaf = new X509Certificate(cert);
  assert.equal(leaf.checkIssued(root), true);
  assert.equal(leaf.verify(root.publicKey), true);
  assert.equal(leaf.subject, "O=dev\nO=ops\nCN=jane");
  assert.equal(leaf.subjectAltName, "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1");
  assert.deepEqual(leaf.keyUsage, ["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"]);
  assert.equal(leaf.validToDate.getTime(), nowMs + 86_400_000);
});

test("a cluster's certificates are kept, private, and made anew when a name is missing or they run out", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "berth-pki-"));
  try {
    const clock = new FakeClock(nowMs);
    const first = await openClusterCertificates(folder, ["localhost", "127.0.0.1"], clock);
    assert.equal((await stat(path.join(folder, "ca.key"))).mode & 0o777, 0o600);
    const again = await openClusterCertificates(folder, ["localhost"], clock);
    assert.equal(again.server.cert, first.server.cert);
    const renamed = await openClusterCertificates(folder, ["localhost", "berth.local"], clock);
    assert.notEqual(renamed.server.cert, first.server.cert);
    assert.equal(renamed.admin.cert, first.admin.cert);
    const later = await openClusterCertificates(folder, ["localhost"], new FakeClock(nowMs + 300 * 86_400_000));
    assert.notEqual(later.admin.cert, first.admin.cert);
    assert.equal(later.authority.pair.cert, first.authority.pair.cert);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
