/** A reporter for node:test: the test files in which something failed, one a line, each once. */
import type { TestEvent } from "node:test/reporters";

export default async function* failedFiles(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const named = new Set<string>();
  for await (const { type, data } of events) {
    const file = type === "test:summary" ? !data.success && data.file : type === "test:fail" && data.file;
    // A test may be declared in a file of helpers; a file that crashes has no summary.
    if (!file || !file.endsWith(".test.ts") || named.has(file)) continue;
    named.add(file);
    yield `${file}\n`;
  }
}
