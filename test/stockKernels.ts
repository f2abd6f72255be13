import { judgeKvm } from "../src/host/kvm/judge.ts"
import { thisKvmHost } from "../src/host/kvm/thisHost.ts"

/** Why no stock kernel boots by KVM on this host, or undefined where they do: what the real Firecracker can be tried with. */
export async function whyNoStockKernel(): Promise<string | undefined> {
  const judged = await judgeKvm(thisKvmHost({ state: "/nonexistent" }, "look"), "firecracker")
  return judged.is === "usable" ? undefined : judged.words
}
