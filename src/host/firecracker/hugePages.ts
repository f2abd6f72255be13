import { readFileSync } from "node:fs"
import { join } from "node:path"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { Taking } from "../vmm/vmm.ts"

/** Where the kernel counts its huge pages of 2 MiB (Documentation/admin-guide/mm/hugetlbpage.rst). */
const COUNTS = "/sys/kernel/mm/hugepages/hugepages-2048kB"

const PAGE_BYTES = 2 * 1024 * 1024
const MIB_BYTES = 1024 * 1024

/**
 * Throws a failure when a guest's memory is to be of huge pages and this host has not enough of them now: Firecracker would say
 * only that it is "unable to read kernel image" (1.16), or the guest would die when it uses the first page that is not there.
 * A host that does not tell how many it has passes. `freed` is
 * asked, where they are too few, for a guest that ends first, and gives its pages back.
 */
export function requireHugePages(
  boot: Taking,
  {
    freed,
    counts = COUNTS,
  }: { readonly freed?: (() => Taking | undefined) | undefined; readonly counts?: string } = {},
): void {
  const needed = pagesOf(boot)
  const host = needed === 0 ? undefined : readCounts(counts)
  if (host === undefined) return
  if (host.available >= needed) return
  const ending = freed?.()
  const available = host.available + (ending === undefined ? 0 : pagesOf(ending))
  if (available >= needed) return
  const { memoryMiB } = boot
  const { total } = host
  const subject = "firecracker.machine.huge_pages"
  const words = `the guest's ${memoryMiB} MiB need ${needed} huge pages of 2 MiB, and this host has ${available} free`
  const hint = `reserve them: sysctl vm.nr_hugepages=${total + needed - available}; or leave huge_pages out`
  throw new Failure("HOST_LACKS", `${subject}: ${words}`, { subject, hint })
}

// --- internal ---

/** How many pages a guest's memory is of. */
function pagesOf({ memoryMiB, firecracker }: Taking): number {
  return firecracker.machine?.huge_pages === "2M" ? Math.ceil((memoryMiB * MIB_BYTES) / PAGE_BYTES) : 0
}

/**
 * How many pages there are, and how many of them a VMM can have: those that are free and that no other program has been
 * promised, and those that the kernel may add on demand. Undefined where the kernel does not tell.
 */
function readCounts(dir: string): { readonly total: number; readonly available: number } | undefined {
  const count = (name: string) => {
    const text = unlessAbsent(() => readFileSync(join(dir, name), "utf8"), CANNOT_TELL)?.trim() ?? ""
    return /^\d+$/.test(text) ? Number(text) : undefined
  }
  const [total, free] = [count("nr_hugepages"), count("free_hugepages")]
  if (total === undefined || free === undefined) return undefined
  const spare = (count("nr_overcommit_hugepages") ?? 0) - (count("surplus_hugepages") ?? 0)
  return { total, available: Math.max(0, free - (count("resv_hugepages") ?? 0)) + Math.max(0, spare) }
}

const CANNOT_TELL = ["ENOENT", "ENOTDIR", "EACCES", "EPERM", "EIO"]
