import assert from "node:assert/strict";
import { test } from "node:test";
import { withAdvice } from "./advice.ts";

const said = (reason: string, message: string) => withAdvice({ reason, message, pod: "web", container: "main" });

test("upstream's words come first, the way out behind them", () => {
  assert.equal(
    said("BackOff", "Back-off restarting failed container main in pod web_default(1)"),
    "Back-off restarting failed container main in pod web_default(1) (berth: it ended each time; its last words: kubectl logs web -c main --previous)",
  );
});

test("the message chooses among lines of one reason", () => {
  const pulls = ["connection refused", "unauthorized", "manifest unknown", "strange"].map((why) =>
    said("Failed", `Failed to pull image "a": ${why}`),
  );
  assert.equal(new Set(pulls.map((line) => line.replace(/.*berth: /, ""))).size, 4);
  assert.match(said("FailedMount", 'MountVolume.SetUp failed for volume "v" : secret "s" not found'), /optional: true/);
  assert.match(
    said("FailedMount", "driver name x not found in the list of registered CSI drivers"),
    /plugins_registry/,
  );
  assert.match(
    said(
      "UnexpectedAdmissionError",
      "… requested number of devices unavailable for a/b. Requested: 2, Available: 1, …",
    ),
    /fewer healthy devices/,
  );
});

test("what is no failure, or said elsewhere, gets no line", () => {
  assert.equal(said("Started", "Started container main"), "Started container main");
  assert.equal(said("Failed", "Error: ErrImagePull"), "Error: ErrImagePull");
});
