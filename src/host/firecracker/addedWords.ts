import type { Boot } from "../vmm/vmm.ts"

/** What Firecracker 1.13 and newer add where there is no PCI bus. */
const WITHOUT_PCI = " pci=off"

/** So many interrupts are the machine's own: those of devices come behind them (x86-64). */
const BUSY_INTERRUPTS_COUNT = 5

/**
 * How many bytes Firecracker adds to a guest's command line: without a PCI bus, and on x86-64, a word for each of its devices; and where
 * its root file system is. It refuses what then has more than 2047. Pure.
 */
export function addedBytes({ disks, network, firecracker }: Boot, arch: string = process.arch): number {
  const { drives = {}, pci, pmem = [], vhost_user = [], balloon, vsock, entropy, memory_hotplug } = firecracker
  const [root] = disks.filter((disk) => disk.root).map(({ id }) => drives[id] ?? {})
  const others = [...pmem, ...vhost_user].filter(({ root_device }) => root_device === true)
  const roots = [...(root === undefined ? [] : [root]), ...others].map((each) => rootWords(each).length)[0] ?? 0
  if (pci === true || arch !== "x64") return roots
  const single = [balloon, vsock, entropy, memory_hotplug].filter((device) => device !== undefined).length
  const count = disks.length + pmem.length + vhost_user.length + single + (network === false ? 0 : 1)
  const devices = Array.from(
    { length: count },
    (_, n) => ` virtio_mmio.device=4K@0xc0001000:${n + BUSY_INTERRUPTS_COUNT}`,
  )
  return roots + WITHOUT_PCI.length + devices.join("").length
}

// --- internal ---

function rootWords(device: { readonly partuuid?: string | undefined } | object): string {
  const partition = "partuuid" in device && typeof device.partuuid === "string" ? device.partuuid : undefined
  return ` root=${partition === undefined ? "/dev/vda" : `PARTUUID=${partition}`} ro`
}
