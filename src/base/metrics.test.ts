import assert from "node:assert/strict";
import { test } from "node:test";
import { Metrics } from "./metrics.ts";

test("figures stand in Prometheus' text form", () => {
  const metrics = new Metrics();
  const requests = metrics.counter("requests_total", "Requests by code.", ["code", "path"]);
  requests.of("200", "/").value++;
  requests.of("200", "/").value++;
  requests.of("404", 'a"b\\c\nd').value++;
  const seconds = metrics.histogram("request_seconds", "How long they took.", ["verb"], [0.1, 1]);
  for (const value of [0.05, 0.1, 0.5, 7]) seconds.of("GET").observe(value);
  metrics.gauge("objects", "Objects there are.", [], () => [[[], 3]]);
  assert.equal(
    metrics.text(),
    [
      "# HELP requests_total Requests by code.",
      "# TYPE requests_total counter",
      'requests_total{code="200",path="/"} 2',
      'requests_total{code="404",path="a\\"b\\\\c\\nd"} 1',
      "# HELP request_seconds How long they took.",
      "# TYPE request_seconds histogram",
      'request_seconds_bucket{verb="GET",le="0.1"} 2',
      'request_seconds_bucket{verb="GET",le="1"} 3',
      'request_seconds_bucket{verb="GET",le="+Inf"} 4',
      'request_seconds_sum{verb="GET"} 7.65',
      'request_seconds_count{verb="GET"} 4',
      "# HELP objects Objects there are.",
      "# TYPE objects gauge",
      "objects 3",
      "",
    ].join("\n"),
  );
});

test("a family asked for twice is one, and one without series is left out", () => {
  const metrics = new Metrics();
  metrics.counter("a_total", "A.").of().value++;
  metrics.counter("a_total", "A.").of().value++;
  metrics.counter("b_total", "B.");
  assert.match(metrics.text(), /^a_total 2$/m);
  assert.doesNotMatch(metrics.text(), /b_total/);
  assert.equal(
    metrics.text((name) => name === "b_total"),
    "",
  );
});

test("labels that never end do not fill the memory", () => {
  const metrics = new Metrics();
  const counter = metrics.counter("many_total", "Many.", ["of"]);
  for (let each = 0; each < 6_000; each++) counter.of(String(each)).value++;
  assert.equal(
    metrics
      .text()
      .split("\n")
      .filter((line) => line.startsWith("many_total")).length,
    5_000,
  );
});
