import assert from "node:assert/strict";
import { test } from "node:test";
import { dropWarning, forwardChains } from "./foreign-chains.ts";

const chain = (table: string, policy: string, more: object = {}) => ({
  family: "inet",
  table,
  name: "forward",
  type: "filter",
  hook: "forward",
  prio: 0,
  policy,
  ...more,
});
const from = (key: string) => ({ match: { op: "==", left: { meta: { key } }, right: "berth0a1b*" } });
/** Of a chain with rules of these expressions. */
const warning = (of: ReturnType<typeof chain>, ...rules: object[][]) => {
  const expressions = rules.map((expr) => ({ rule: { family: of.family, table: of.table, chain: of.name, expr } }));
  return dropWarning(of, JSON.stringify({ nftables: [{ metainfo: {} }, { chain: of }, ...expressions] }), "berth0a1b");
};
const looked = (...chains: object[]) =>
  forwardChains(JSON.stringify({ nftables: [{ metainfo: {} }, ...chains.map((one) => ({ chain: one }))] })).length;

test("a chain that drops what is forwarded is told, with the rules that let ours through", () => {
  const byPolicy = warning(chain("mine", "drop"));
  assert.match(byPolicy!, /chain forward of the nftables table inet mine drops/);
  assert.match(byPolicy!, /nft insert rule inet mine forward iifname "berth0a1b\*" accept; nft insert .* oifname/);
  const reject = { reject: { type: "icmpx", expr: "admin-prohibited" } };
  assert.ok(warning(chain("firewalld", "accept"), [{ counter: {} }, reject]));
  assert.doesNotMatch(warning(chain("mine", "drop"), [from("iifname"), { accept: null }])!, /iifname/);
});

test("nothing is told of chains that let ours through", () => {
  const ours = ["iifname", "oifname"].map((key) => [from(key), { accept: null }]);
  assert.equal(warning(chain("mine", "drop"), ...ours, [{ drop: null }]), undefined);
  assert.equal(warning(chain("mine", "accept"), [from("iifname"), { drop: null }]), undefined);
});

test("others' hooks, iptables' chains and ours are not looked at", () => {
  assert.equal(looked(chain("mine", "drop"), chain("firewalld", "accept")), 2);
  assert.equal(looked(chain("mine", "drop", { hook: "input" }), chain("mine", "drop", { family: "bridge" })), 0);
  assert.equal(
    looked(chain("filter", "drop", { family: "ip" }), chain("berth0a1b", "drop"), chain("berthffff", "drop")),
    0,
  );
});
