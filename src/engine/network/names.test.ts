import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode } from "dns-packet";
import { seededRandom } from "../../base/index.ts";
import { hostsFile, parseResolvConf, resolvConfFile } from "./files.ts";
import { answerLocally, reverseAddress, type NameLookup } from "./names.ts";
import type { Endpoint } from "./types.ts";

const endpoint = (ipv4Address: string, ipv6Address = "") => ({ ipv4Address, ipv6Address }) as Endpoint;
const lookup: NameLookup = {
  endpointsByName: (_, name) => (name === "db" ? [endpoint("10.0.0.2", "fd00::2"), endpoint("10.0.0.3")] : undefined),
  nameByAddress: (_, address) => (address === "10.0.0.2" ? "db.app" : undefined),
  isExternal: () => true,
  servers: () => [],
};

function ask(type: "A" | "AAAA" | "PTR" | "MX" | "TXT", name: string) {
  const query = encode({ type: "query", id: 7, flags: 0x100, questions: [{ type, name }] });
  const answer = answerLocally(query, "me", lookup, seededRandom(3));
  return answer && decode(answer);
}

test("every address of a name is answered, whatever the case it is asked in", () => {
  const answer = ask("A", "DB")!;
  assert.equal(answer.id, 7);
  assert.deepEqual(answer.answers!.map((record) => (record as { data: string }).data).sort(), ["10.0.0.2", "10.0.0.3"]);
  assert.deepEqual(
    ask("AAAA", "db")!.answers!.map((record) => (record as { data: string }).data),
    ["fd00::2"],
  );
});

test("a known name without the record asked for exists all the same", () => {
  const answer = ask("MX", "db")!;
  assert.deepEqual([answer.answers, (answer as { rcode?: string }).rcode], [[], "NOERROR"]);
});

test("unknown names are left to the servers upstream", () => {
  assert.equal(ask("A", "example.com"), undefined);
  assert.equal(ask("PTR", "9.9.9.9.in-addr.arpa"), undefined);
});

test("addresses have names", () => {
  const [record] = ask("PTR", "2.0.0.10.in-addr.arpa")!.answers!;
  assert.equal((record as { data: string }).data, "db.app");
  assert.equal(reverseAddress(`2.${"0.".repeat(31)}ip6.arpa`), "::2");
  assert.equal(reverseAddress("10.in-addr.arpa"), undefined);
});

test("a message that is no query is answered, not thrown at", () => {
  for (const length of [12, 13, 20]) assert.ok(answerLocally(Buffer.alloc(length), "me", lookup, seededRandom(1)));
});

test("resolv.conf: own servers, loopback ones left out, options kept", () => {
  const spec = { id: "x", name: "x", hostname: "x" };
  const host = parseResolvConf("# c\nnameserver 127.0.0.53\nnameserver 1.2.3.4 ; c\ndomain a.b\noptions timeout:1\n");
  assert.match(resolvConfFile(spec, host, false), /nameserver 1\.2\.3\.4\nsearch a\.b\noptions timeout:1\n$/);
  assert.doesNotMatch(resolvConfFile(spec, host, false), /127/);
  assert.match(resolvConfFile({ ...spec, host: true }, host, false), /127\.0\.0\.53/);
  assert.match(
    resolvConfFile({ ...spec, dns: ["9.9.9.9"], dnsSearch: ["."] }, host, false),
    /nameserver 9\.9\.9\.9\noptions/,
  );
});

test("hosts file: extra hosts in both spellings, host-gateway, brackets", () => {
  const spec = {
    id: "x",
    name: "x",
    hostname: "x",
    domainname: "d",
    extraHosts: ["a:1.1.1.1", "b=[::5]", "h:host-gateway"],
  };
  const text = hostsFile(spec, [endpoint("10.0.0.2")], "172.17.0.1");
  for (const line of ["1.1.1.1\ta", "::5\tb", "172.17.0.1\th", "10.0.0.2\tx.d x"])
    assert.ok(text.includes(`${line}\n`), line);
});
