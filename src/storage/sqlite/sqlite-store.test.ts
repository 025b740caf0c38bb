import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, test } from "node:test";
import { storeSuite } from "../store.suite.ts";
import { backupSqliteStore, restoreSqliteStore } from "./backup.ts";
import { openSqliteStore } from "./sqlite-store.ts";

const folder = mkdtempSync(path.join(tmpdir(), "berth-sqlite-"));
after(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;
const newFile = () => path.join(folder, `${files++}`, "store.db");
const value = (text: string) => Buffer.from(text);

storeSuite("sqlite", () => openSqliteStore({ file: newFile() }));

test("a reopened store has everything, goes on counting, and serves watches from before", async () => {
  const file = newFile();
  const first = await openSqliteStore({ file });
  await first.commit([], [{ key: "/a", value: value("1") }], []);
  const { revision } = await first.commit([], [{ key: "/b", value: value("2") }], ["/a"]);
  await first.compact(revision);
  await first.close();
  await using again = await openSqliteStore({ file });
  assert.equal(await again.revision(), revision);
  assert.equal((await again.get("/a")).kv, undefined);
  await assert.rejects(again.range("/", { revision: revision - 1 }), { code: "resourceExhausted" });
  for await (const { events } of again.watch("/", revision)) {
    assert.deepEqual(
      events.map((event) => `${event.type} ${event.kv.key}`),
      ["put /b", "delete /a"],
    );
    break;
  }
  assert.equal((await again.commit([], [{ key: "/a", value: value("3") }], [])).revision, revision + 1);
});

test("the revision survives when compaction removes the newest row", async () => {
  const file = newFile();
  const first = await openSqliteStore({ file });
  await first.commit([], [{ key: "/a", value: value("1") }], []);
  const { revision } = await first.commit([], [], ["/a"]);
  const next = await first.commit([], [{ key: "/b", value: value("1") }], []);
  await first.commit([], [], ["/b"]);
  await first.compact(next.revision + 1);
  await first.close();
  await using again = await openSqliteStore({ file });
  assert.equal(await again.revision(), next.revision + 1);
  assert.ok(revision < next.revision);
});

test("damage is noticed: a changed value, a lost row, a file that is no database", async () => {
  const file = newFile();
  const store = await openSqliteStore({ file });
  for (let at = 0; at < 5; at++) await store.commit([], [{ key: "/a", value: value(`v${at}`) }], []);
  await store.close();
  const database = new DatabaseSync(file);
  database.exec("UPDATE log SET value = CAST('xx' AS BLOB) WHERE id = (SELECT max(id) FROM log)");
  await using changed = await openSqliteStore({ file });
  await assert.rejects(changed.get("/a"), { code: "internal", message: /wrong checksum/ });
  database.exec("DELETE FROM log WHERE id = (SELECT id FROM log ORDER BY id LIMIT 1 OFFSET 2)");
  database.close();
  await assert.rejects(openSqliteStore({ file }), { code: "internal", message: /is missing/, hint: /backup/ });
  const noise = newFile();
  await openSqliteStore({ file: noise }).then((fresh) => fresh.close());
  writeFileSync(noise, "this is no database, but it is long enough to look like one".repeat(200));
  await assert.rejects(openSqliteStore({ file: noise }), { code: "internal", message: /damaged/ });
});

test("a backup of a store in use is restored to its revision", async () => {
  const file = newFile();
  const store = await openSqliteStore({ file });
  await store.commit([], [{ key: "/a", value: value("1") }], []);
  const copy = path.join(folder, "copy.db");
  await backupSqliteStore(file, copy);
  assert.equal(statSync(copy).mode & 0o777, 0o600);
  await store.commit([], [{ key: "/a", value: value("2") }], []);
  await store.close();
  await restoreSqliteStore(copy, file);
  await using restored = await openSqliteStore({ file });
  const { kv, revision } = await restored.get("/a");
  assert.deepEqual([Buffer.from(kv!.value).toString(), revision], ["1", 1]);
});

test("a backup has a file of its own, or none is made and nothing is left", async () => {
  const file = newFile();
  await using store = await openSqliteStore({ file });
  await store.commit([], [{ key: "/a", value: value("1") }], []);
  const place = path.join(folder, "place");
  mkdirSync(place);
  const link = path.join(place, "link.db");
  symlinkSync(file, link);
  await assert.rejects(backupSqliteStore(file, place), {
    code: "invalidArgument",
    message: /place is a folder/,
    hint: /place\/cluster\.db/,
  });
  await assert.rejects(backupSqliteStore(file, "/dev/null"), { code: "invalidArgument", message: /null is no file/ });
  for (const own of [file, link, `${file}-wal`])
    await assert.rejects(backupSqliteStore(file, own), { code: "invalidArgument", message: /the cluster's own state/ });
  for (const nowhere of ["/dev/full/x", "/proc/x"])
    await assert.rejects(backupSqliteStore(file, nowhere), {
      code: "failedPrecondition",
      message: /no backup can be written to \/(dev|proc).*x: E/,
      hint: /name a file/,
    });
  assert.deepEqual(readdirSync(place), ["link.db"]);
  assert.ok(!existsSync(`${place}.partial`));
  await backupSqliteStore(file, path.join(place, "new", "copy.db"));
  assert.ok((await store.get("/a")).kv);
});

test("what is no backup is refused, and the store stays", async () => {
  const file = newFile();
  const store = await openSqliteStore({ file });
  await store.commit([], [{ key: "/a", value: value("1") }], []);
  await store.close();
  const noise = path.join(folder, "noise.db");
  const other = path.join(folder, "other.db");
  writeFileSync(noise, "no database at all");
  new DatabaseSync(other).exec("CREATE TABLE mine (id INTEGER)");
  for (const wrong of [noise, other, path.join(folder, "absent.db")])
    await assert.rejects(restoreSqliteStore(wrong, file), { code: "invalidArgument", message: /is no backup/ });
  assert.ok(!existsSync(path.join(folder, "absent.db")));
  await using same = await openSqliteStore({ file });
  assert.ok((await same.get("/a")).kv);
});
