import { knownAccelerator } from "../../vm/index.ts";

/** A line about how virtual machines run here, once one has been started. */
export async function accelerator(): Promise<string[]> {
  const facts = await knownAccelerator();
  if (!facts) return [];
  if (facts.accelerator === "kvm") return ["virtual machines run under KVM"];
  return [`virtual machines are emulated, several times slower than with KVM: ${facts.reason ?? "not said"}`];
}
