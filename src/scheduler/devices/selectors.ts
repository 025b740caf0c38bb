import type { k8s } from "../../api/index.ts";
import type { Candidate } from "./pools.ts";

type Cel = typeof import("../../cel/index.ts");

/** Whether a device is what all of these selectors want. Throws what went wrong in one of them. */
export type SelectDevice = (candidate: Candidate, selectors: readonly k8s.DeviceSelector[]) => boolean;

/**
 * Selectors of devices are expressions, which a cluster without claims of devices needs nothing of: they are loaded when the first Pod asks
 * for a device.
 */
export class Selectors {
  #cel: Cel | undefined;

  get isLoaded(): boolean {
    return this.#cel !== undefined;
  }

  async load(): Promise<void> {
    this.#cel ??= await import("../../cel/index.ts");
  }

  /** Remembers what each device is like, for one scheduling cycle. */
  forCycle(): SelectDevice {
    const { compileCel, deviceValue, celMessage } = this.#cel!;
    const values = new Map<k8s.Device, object>();
    const answers = new Map<string, boolean>();
    const valueOf = ({ driver, device }: Candidate): object => {
      let value = values.get(device);
      if (value === undefined) values.set(device, (value = deviceValue(driver, device)));
      return value;
    };
    const matches = (candidate: Candidate, expression: string, at: number): boolean => {
      const key = `${candidate.id}\n${expression}`;
      let answer = answers.get(key);
      if (answer === undefined) {
        try {
          answer = compileCel(expression)({ device: valueOf(candidate) }) === true;
        } catch (error) {
          throw new Error(`selector #${at}: CEL runtime error: ${celMessage(error)}`, { cause: error });
        }
        answers.set(key, answer);
      }
      return answer;
    };
    return (candidate, selectors) =>
      selectors.every(({ cel }, at) => cel !== undefined && matches(candidate, cel.expression, at));
  }
}
