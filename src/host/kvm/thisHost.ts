import { readFileSync } from "node:fs"
import { join } from "node:path"
import { O } from "../../base/linux/constants.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { close, openAt, statPath, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { kvmHas, kvmVersion } from "../../base/linux/kvm.ts"
import type { Places } from "../../store/state/places.ts"
import { type Judgement, judgeKvm, type KvmHost } from "./judge.ts"
import { tryGuest } from "./tried.ts"

/**
 * This host, as its KVM is judged. What came of trying a guest is kept in the state directory, once there is one, unless the
 * asker only looks.
 */
export function thisKvmHost({ state }: Pick<Places, "state">, asker: "start" | "look" = "start"): KvmHost {
  return {
    uid: process.geteuid?.() ?? 0,
    arch: process.arch,
    read: (path) => orAbsent(() => readFileSync(path, "latin1")),
    stat: (path) => orAbsent(() => statPath(path)),
    open: (path) => close(openAt(AT_FDCWD, path, O.RDWR | O.NONBLOCK)),
    kvm: askKvm,
    tryGuest: () => tryGuest(join(state, "kvm.json"), asker),
  }
}

/** Whether guests run by this host's KVM, for this user and for a VMM (`judgeKvm`). */
export function judgeThisKvm(
  where: Pick<Places, "state">,
  vmm: "firecracker" | "qemu",
  asker?: "start" | "look",
): Promise<Judgement> {
  return judgeKvm(thisKvmHost(where, asker), vmm)
}

// --- internal ---

function orAbsent<T>(read: () => T): T | undefined {
  return unlessAbsent(read, ["ENOENT", "ENOTDIR"])
}

function askKvm(): ReturnType<KvmHost["kvm"]> {
  return withDescriptor(openAt(AT_FDCWD, "/dev/kvm", O.RDWR), (fd) => {
    const version = kvmVersion(fd)
    const all = Array.from({ length: 256 }, (_, number) => kvmHas(fd, number))
    return { version, has: (capability) => all[capability] === true }
  })
}
