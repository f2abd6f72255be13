import { realpathSync } from "node:fs"
import { dirname } from "node:path"
import { Failure, inOneLine } from "../../base/terms/failure.ts"
import { cpuFlags } from "../../host/kvm/judge.ts"
import { pinDirectory } from "../../store/files/pinDirectory.ts"
import { type Finding, fail, ok, unknown, warn } from "./finding.ts"
import type { Host } from "./host.ts"

/** The oldest kernel whose calls banger needs. */
const OLDEST = [5, 14] as const

/** What the faster x64 build is made for, as `flags` of /proc/cpuinfo names it. */
const NEW_CPU = ["avx2", "bmi1", "bmi2", "fma", "f16c", "movbe"]

/** Whether the kernel is new enough for what is done as root. */
export function checkKernel({ release }: Host): Finding {
  const [major = 0, minor = 0] = release.split(".").map(Number)
  if (Number.isNaN(major) || Number.isNaN(minor)) return unknown(`this kernel calls itself ${release}`)
  if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return ok(`Linux ${release}`)
  return fail(`Linux ${release}: banger needs 5.14 or newer`, "install a newer kernel of your distribution and boot it")
}

/** Whether the calls can be made, which a container's seccomp filter may forbid on any kernel. */
export function checkCalls(host: Host): Finding {
  // Only root may mount, whatever the kernel has; for others banger mounts nothing.
  const refused = host.refusedCalls().filter((call) => host.uid === 0 || !/^(?:open_tree|move_mount): EPERM/.test(call))
  if (refused.length === 0) return ok("the system calls that banger makes are there")
  const hint = "in a container: run it with --privileged, or with a seccomp profile that has these calls"
  return fail(`system calls are refused: ${refused.join(", ")}`, hint)
}

/** Whether this binary is the right build for the processor. */
export function checkCpu(host: Host, target: string): Finding {
  if (host.arch === "arm64") return ok("arm64; guests on it have no Ctrl-Alt-Del")
  if (host.arch !== "x64") return fail(`banger is for x86-64 and arm64; this is ${host.arch}`)
  const flags = cpuFlags(host)
  const missing = NEW_CPU.filter((flag) => !flags.has(flag))
  if (missing.length === 0) return ok(`x86-64 with AVX2; this banger is built for ${target}`)
  if (target.includes("baseline")) return ok(`x86-64 without ${missing.join(", ")}; this banger is built for such`)
  return fail(
    `this processor has no ${missing.join(", ")}, which a banger built for ${target} may use: it can end by SIGILL`,
    "install the baseline build: run install.sh here, which chooses it",
  )
}

/** Whether the environment makes programs of this user run other code. */
export function checkEnvironment({ env }: Host): Finding {
  const found = Object.keys(env).filter((name) =>
    /^(?:BUN_OPTIONS|BUN_BE_BUN|BUN_INSPECT.*|LD_PRELOAD|LD_AUDIT)$/.test(name),
  )
  if (found.length === 0) return ok("nothing in the environment makes banger run other code")
  return warn(`${found.join(", ")} in the environment can make banger run other code`, `unset ${found.join(" ")}`)
}

/** Whether another user can change what root starts by a bare name. banger passes over such directories; a shell does not. */
export function checkPath(host: Host): Finding {
  const dirs = (host.env.PATH ?? "").split(":")
  const relative = dirs.find((dir) => !dir.startsWith("/"))
  if (relative !== undefined && host.env.PATH !== undefined) {
    const says = `PATH has ${JSON.stringify(relative)}: programs of whatever directory one is in`
    return warn(says, "take it out of PATH, in your shell's startup file too")
  }
  if (host.uid !== 0) return ok("PATH has whole paths only")
  const wrong = dirs.map((dir) => (host.stat(dir) === undefined ? undefined : trusted(realpathSync(dir))))
  const found = wrong.find((each) => each !== undefined)
  if (found === undefined) return ok("PATH has only directories that are root's alone")
  return warn(`root's PATH has a directory that is not root's alone: ${found.says}`, found.hint)
}

/** Whether the binary that root runs can be changed by others. */
export function checkBinary(host: Host): Finding {
  const { binary, uid } = host
  if (binary === undefined) return ok("banger runs from its source")
  const stat = host.stat(binary)
  if (stat === undefined) return warn(`${binary} is not there any more: it was replaced or removed while it ran`)
  if (uid !== 0) return ok(binary)
  if (stat.uid !== 0) return fail(`root runs ${binary}, which uid ${stat.uid} can change`, `chown root ${binary}`)
  if ((stat.mode & 0o022) !== 0) return fail(`root runs ${binary}, which others can change`, `chmod go-w ${binary}`)
  if ((stat.mode & 0o6000) !== 0)
    return fail(`${binary} is setuid or setgid: whoever runs it is root`, `chmod ug-s ${binary}`)
  return trusted(dirname(binary)) ?? ok(binary)
}

// --- internal ---

/** A failing finding when others can change what is in a directory; undefined when they cannot. */
function trusted(directory: string): Finding | undefined {
  try {
    process.getBuiltinModule("node:fs").closeSync(pinDirectory(directory))
    return undefined
  } catch (error) {
    if (error instanceof Failure) return fail(inOneLine(error), error.hint?.replace(/^run: /, ""))
    throw error
  }
}
