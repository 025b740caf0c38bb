import { notFound } from "../../base/index.ts";
import type { NetnsHost } from "./netns.ts";

/** Namespaces as names: `current` tells the fake netlink which one is meant. For tests. */
export class FakeNetns implements NetnsHost {
  readonly pins = new Map<string, number>();
  readonly sysctls: string[] = [];
  /** The pin the thread is in; empty for the host's own. */
  current = "";
  #next = 1000;

  create(pin: string, setup?: () => void): void {
    if (this.pins.has(pin)) return;
    this.pins.set(pin, this.#next++);
    if (setup) this.enter(pin, setup);
  }
  enter<T>(pin: string, task: () => T): T {
    if (!this.pins.has(pin)) throw notFound(`no namespace at ${pin}`);
    const before = this.current;
    this.current = pin;
    try {
      return task();
    } finally {
      this.current = before;
    }
  }
  open(pin: string): number {
    const fd = this.pins.get(pin);
    if (fd === undefined) throw notFound(`no namespace at ${pin}`);
    return fd;
  }
  close(): void {}
  exists(pin: string): boolean {
    return this.pins.has(pin);
  }
  remove(pin: string): void {
    this.pins.delete(pin);
  }
  sysctl(name: string, value: string | number): void {
    this.sysctls.push(`${this.current}:${name}=${value}`);
  }
  /** The pin that a descriptor of `open` stands for. */
  pinOf(fd: number): string {
    return [...this.pins].find(([, number]) => number === fd)?.[0] ?? "";
  }
}
