import { Failure } from "../../base/terms/failure.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import type { Boot, Vmm } from "./vmm.ts"

/** A kernel reads no more of its command line than COMMAND_LINE_SIZE (arch/x86, arch/arm64), a NUL with it. */
const READ_MAX_BYTES = 2047

/** What banger adds is no longer, in bytes: `ip=` with a name and name servers, `root=`, a word on the clock. */
const ADDED_MAX_BYTES = 512

/** What a VMM adds for a device is no longer, in bytes; and so many devices a VM has besides its drives. */
const DEVICE_MAX_BYTES = 40
const OTHER_DEVICES_MAX_COUNT = 12

/**
 * Throws BAD_PLUGIN, with who added how much, where a boot's command line, with what its VMM itself adds, is longer than kernels read.
 * `given`: the plugin's own. A restored guest has read its own already. Pure.
 */
export function requireCommandLine(
  { bootArgs: given }: Pick<Spec, "bootArgs">,
  { vmm, boot }: { readonly vmm: Pick<Vmm, "name" | "addedBytes">; readonly boot: Boot },
): void {
  if (boot.restore !== undefined) return
  const [own, line] = [given, boot.bootArgs].map((text) => Buffer.byteLength(text)) as [number, number]
  const more = vmm.addedBytes(boot)
  const total = line + more
  if (total <= READ_MAX_BYTES) return
  const adders = [
    ...(line > own ? [`${line - own} of them by banger itself`] : []),
    ...(more > 0 ? [`${more} by ${vmm.name}`] : []),
  ]
  const words = [`bootArgs: a kernel command line of ${total} bytes, but kernels read ${READ_MAX_BYTES}`, ...adders]
  const hint = `make bootArgs shorter, by ${total - READ_MAX_BYTES} bytes at least${more > 0 ? ", or have fewer devices" : ""}`
  throw new Failure("BAD_PLUGIN", words.join("; "), { subject: "bootArgs", hint })
}

/** Whether a spec's command line may come to be too long: for most this saves a look. Pure. */
export function mayBeTooLong({ bootArgs, drives, firecracker }: Spec): boolean {
  const devices = drives.length + (firecracker.pmem?.length ?? 0) + (firecracker.vhost_user?.length ?? 0)
  const added = ADDED_MAX_BYTES + DEVICE_MAX_BYTES * (devices + OTHER_DEVICES_MAX_COUNT)
  return Buffer.byteLength(bootArgs) + added > READ_MAX_BYTES
}
