import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { FakeClock } from "../../base/index.ts";
import { CertificateAuthority } from "./authority.ts";
import { ClusterSigner } from "./signer.ts";

async function requestFor(subject: string, dns: readonly string[] = []): Promise<string> {
  await import("reflect-metadata");
  const { Pkcs10CertificateRequestGenerator, SubjectAlternativeNameExtension } = await import("@peculiar/x509");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const names = new SubjectAlternativeNameExtension(dns.map((value) => ({ type: "dns", value })));
  const extensions = dns.length > 0 ? [names] : [];
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: subject,
    keys,
    signingAlgorithm: algorithm,
    extensions,
  });
  return request.toString("pem");
}

const clock = new FakeClock();
const authority = CertificateAuthority.create("test-ca", clock.nowMs());
const signer = new ClusterSigner(authority, clock);
const node = "O=system:nodes, CN=system:node:a";
const rows: readonly [
  title: string,
  signer: string,
  subject: string,
  dns: string[],
  usages: string[],
  error?: RegExp,
][] = [
  ["a user", "kube-apiserver-client", "O=dev, CN=ann", [], ["client auth"]],
  ["a server's usage", "kube-apiserver-client", "CN=ann", [], ["server auth"], /usage "server auth" is not allowed/],
  ["a kubelet", "kube-apiserver-client-kubelet", node, [], ["client auth", "digital signature"]],
  ["a kubelet by name", "kube-apiserver-client-kubelet", node, ["a.example"], ["client auth"], /alternative names/],
  ["nobody's node", "kube-apiserver-client-kubelet", "CN=x", [], ["client auth"], /organization must be system:nodes/],
  ["a kubelet's port", "kubelet-serving", node, ["a.example"], ["server auth"]],
  ["a port without a name", "kubelet-serving", node, [], ["server auth"], /a DNS name or IP address is required/],
];

for (const [title, name, subject, dns, usages, error] of rows)
  test(`signing: ${title}`, async () => {
    const csrPem = await requestFor(subject, dns);
    const signed = signer.sign({ csrPem, usages, expirationSeconds: 3600, signerName: `kubernetes.io/${name}` });
    if (error) return assert.rejects(signed, error);
    const certificate = new X509Certificate(await signed);
    assert.ok(certificate.verify(new X509Certificate(authority.pair.cert).publicKey));
    assert.deepEqual(new Set(certificate.subject.split("\n")), new Set(subject.split(", ")));
    assert.equal(certificate.validToDate.getTime(), Math.floor(clock.nowMs() / 1000) * 1000 + 3_600_000);
  });

test("signing: what is no request, and who is no signer", async () => {
  const request = { csrPem: "x", usages: ["client auth"], expirationSeconds: undefined };
  await assert.rejects(
    signer.sign({ ...request, signerName: "kubernetes.io/kube-apiserver-client" }),
    /cannot be read/,
  );
  await assert.rejects(signer.sign({ ...request, signerName: "example.com/x" }), /there is no signer/);
});
