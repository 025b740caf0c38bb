import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeProtobuf } from "./decode.ts";

/** Enough of an encoder for the tests: fields in order, strings and messages length-delimited, numbers as varints. */
type Value = string | number | boolean | Buffer | Field[];
type Field = readonly [number, Value];

function encode(fields: readonly Field[]): Buffer {
  return Buffer.concat(
    fields.map(([field, value]) => {
      if (typeof value === "number" || typeof value === "boolean")
        return Buffer.concat([varint(field * 8), varint(Number(value))]);
      const bytes = Array.isArray(value) ? encode(value) : Buffer.from(value);
      return Buffer.concat([varint(field * 8 + 2), varint(bytes.length), bytes]);
    }),
  );
}
function varint(value: number): Buffer {
  const out: number[] = [];
  let left = value;
  for (; left > 0x7f; left = Math.floor(left / 128)) out.push((left % 128) | 0x80);
  return Buffer.from([...out, left]);
}
const body = (apiVersion: string, kind: string, fields: readonly Field[]) =>
  Buffer.concat([
    Buffer.from("k8s\0"),
    encode([
      [
        1,
        [
          [1, apiVersion],
          [2, kind],
        ],
      ],
      [2, encode(fields)],
    ]),
  ]);

const metadata: Field = [
  1,
  [
    [1, "x"],
    [2, ""],
    [7, 0],
    [8, []],
    [
      11,
      [
        [1, "app"],
        [2, "web"],
      ],
    ],
  ],
];

test("a ConfigMap: maps and bytes; what Go writes though it is zero is left out", () => {
  const fields: Field[] = [
    metadata,
    [
      2,
      [
        [1, "a"],
        [2, "b"],
      ],
    ],
    [
      3,
      [
        [1, "bin"],
        [2, Buffer.from([1, 2])],
      ],
    ],
  ];
  assert.deepEqual(decodeProtobuf(body("v1", "ConfigMap", fields)), {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "x", labels: { app: "web" } },
    data: { a: "b" },
    binaryData: { bin: "AQI=" },
  });
});

test("a Deployment: replicas of zero were meant; embedded structs, quantities and int-or-strings have their JSON forms", () => {
  const requests: Field = [
    2,
    [
      [1, "cpu"],
      [2, [[1, "100m"]]],
    ],
  ];
  const probe: Field = [
    10,
    [
      [
        1,
        [
          [
            2,
            [
              [1, "/"],
              [
                2,
                [
                  [1, 1],
                  [2, 0],
                  [3, "http"],
                ],
              ],
            ],
          ],
        ],
      ],
      [2, 5],
    ],
  ];
  const container: Field = [2, [[1, "c"], [2, "nginx"], [8, [requests]], probe]];
  const volume: Field = [
    1,
    [
      [1, "v"],
      [2, [[2, [[1, "Memory"]]]]],
    ],
  ];
  const template: Field = [3, [[2, [volume, container]]]];
  const decoded = decodeProtobuf(body("apps/v1", "Deployment", [metadata, [2, [[1, 0], template]]]));
  assert.deepEqual(decoded["spec"], {
    replicas: 0,
    template: {
      spec: {
        volumes: [{ name: "v", emptyDir: { medium: "Memory" } }],
        containers: [
          {
            name: "c",
            image: "nginx",
            resources: { requests: { cpu: "100m" } },
            livenessProbe: { httpGet: { path: "/", port: "http" }, initialDelaySeconds: 5 },
          },
        ],
      },
    },
  });
});

test("options of deletes are found in any group", () => {
  const decoded = decodeProtobuf(
    body("apps/v1", "DeleteOptions", [
      [1, 0],
      [4, "Background"],
    ]),
  );
  assert.deepEqual(decoded, {
    apiVersion: "apps/v1",
    kind: "DeleteOptions",
    gracePeriodSeconds: 0,
    propagationPolicy: "Background",
  });
});

test("noise is refused, never a crash", () => {
  assert.throws(() => decodeProtobuf(Buffer.from("{}")), { code: "invalidArgument" });
  assert.throws(() => decodeProtobuf(body("v1", "Unheard", [])), /no kind "Unheard" is registered/);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
      const whole = body("v1", "Pod", []);
      try {
        decodeProtobuf(Buffer.concat([whole.subarray(0, 16), noise]));
      } catch (error) {
        assert.equal((error as { code?: string }).code, "invalidArgument", String(error));
      }
    }),
    { numRuns: 500 },
  );
});
