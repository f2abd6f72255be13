import { isFailure, messageOf } from "../../base/terms/failure.ts"
import type { Program } from "../../host/vmm/vmm.ts"
import type { Candidates } from "../../supervisor/boot/chooseVmm.ts"
import { type Finding, fail, ok, unknown, warn } from "./finding.ts"

/** Whether Firecracker and its jailer are there, of one release, and nothing is known against it. */
export async function checkFirecracker(candidates: Candidates, root: boolean): Promise<Finding> {
  const found = await settled(candidates.find("firecracker"))
  if (!("path" in found)) return warn(`Firecracker cannot be used: ${found.message}`, "banger get firecracker")
  const { path, version, jailer, warning } = found
  const newer = "get the newer release: banger get firecracker"
  if (warning !== undefined) return warning.dangerous ? fail(warning.words, newer) : warn(warning.words, newer)
  const says = `Firecracker ${version.join(".")}: ${path}`
  if (jailer === undefined && root) return warn(`${says}, without its jailer`, "get both: banger get firecracker")
  return ok(jailer === undefined ? says : `${says}, ${jailer}`)
}

/** Whether QEMU is there. */
export async function checkQemu(candidates: Candidates): Promise<Finding> {
  const found = await settled(candidates.find("qemu"))
  if (!("path" in found)) return warn(`QEMU cannot be used: ${found.message}`, found.hint)
  return ok(`QEMU ${found.version.join(".")}: ${found.path}`)
}

/** Which VMM `vmm: "auto"` takes on this host, and why. */
export async function checkChoice(candidates: Candidates, root: boolean): Promise<Finding> {
  try {
    const { vmm, accel, because } = await candidates.choose({ vmm: "auto", accel: "auto" }, root)
    if (vmm.name === "firecracker") return ok('vmm: "auto" takes Firecracker: it and /dev/kvm can be used')
    const how = accel === "kvm" ? "by KVM" : "which emulates"
    if (because === undefined) return ok(`vmm: "auto" takes QEMU, ${how}, as the configuration has it`)
    return warn(`vmm: "auto" takes QEMU, ${how}: ${because.words}`, because.hint?.replace(/^run: /, ""))
  } catch (error) {
    if (!isFailure(error)) return unknown(messageOf(error))
    return fail(error.message.replaceAll("\n", "; "), "banger get firecracker, or: apt-get install qemu-system-x86")
  }
}

// --- internal ---

interface Missing {
  readonly message: string
  readonly hint: string | undefined
}

async function settled(looking: Promise<Program>): Promise<Program | Missing> {
  try {
    return await looking
  } catch (error) {
    return { message: messageOf(error), hint: isFailure(error) ? error.hint : undefined }
  }
}
