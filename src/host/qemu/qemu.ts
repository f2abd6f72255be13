import { readFileSync } from "node:fs"
import * as v from "valibot"
import { Failure } from "../../base/terms/failure.ts"
import type { HostPath } from "../../base/terms/path.ts"
import { findProgram } from "../../store/files/programs.ts"
import { versionsIn } from "../../store/files/programVersion.ts"
import type {
  Control,
  ControlSocket,
  Disk,
  Ending,
  ExitReason,
  LaunchPlace,
  Program,
  ProgramPaths,
  Version,
  Vmm,
} from "../vmm/vmm.ts"
import { isAtLeast, qemuArgv, rootArgs } from "./argv.ts"
import { connectQmp, type Qmp } from "./qmp.ts"
import { tscArgs } from "./tscArgs.ts"

// The room qemu: starts QEMU's microvm machine, and speaks QMP.
// The rule: nothing is on its command line that was not asked for, and its guest waits until the control connection is up.

/** QEMU as the VMM of hosts without Firecracker or KVM. Its microvm machine is x86-64 only. */
export const qemu: Vmm = {
  name: "qemu",
  find: findQemu,
  jailName: () => "qemu",
  bootArgs,
  require() {
    // The spec's schema has checked its settings; Firecracker's do not concern it.
  },
  tellsMtu: () => true,
  // By ACPI its guest finds its devices.
  addedBytes: () => 0,
  requireNow() {
    // What it takes is given when it is used.
  },
  launch(program, boot, place) {
    return { argv: qemuArgv(program, boot), control: control(place) }
  },
  connect:
    (_, { onStep }) =>
    (path) => {
      const begin = async (qmp: Qmp) => {
        onStep("answer cont")
        await qmp.command("cont")
      }
      onStep("greet")
      return connect(path, begin)
    },
  control,
  adopt: (path) => connect(path, async () => {}),
  reason: exitReason,
}

/** Why QEMU ended, from its exit status and the reason of its SHUTDOWN event (QMP reference, ShutdownCause). */
export function exitReason({ code, signal, announced }: Ending): ExitReason {
  if (signal === "SIGKILL") return "killed"
  if (signal !== null || (code !== null && code !== 0)) return "crashed"
  if (announced === "guest-shutdown") return "guest powered off"
  if (announced === "guest-reset") return "guest reset"
  if (announced === "guest-panic") return "guest panicked"
  return code === null ? "lost" : "stopped"
}

/** Major and minor from what `qemu --version` prints. */
export function parseVersion(text: string): Version | undefined {
  const [, major, minor] = /^QEMU emulator version (\d+)\.(\d+)/.exec(text) ?? []
  return major === undefined || minor === undefined ? undefined : [Number(major), Number(minor)]
}

// --- internal ---

const statusSchema = v.object({ status: v.string() })

const PROGRAM = "qemu-system-x86_64"

function bootArgs(given: string, disks: readonly Disk[], { accel }: Pick<Program, "accel">): readonly string[] {
  // By KVM a guest has KVM's clock, and a timer that keeps time.
  return [...rootArgs(disks), ...(accel === "kvm" ? [] : tscArgs(given, readFileSync("/proc/cpuinfo", "latin1")))]
}

function control({ qmpSocket }: Pick<LaunchPlace, "qmpSocket">): ControlSocket {
  return { is: "passed", host: qmpSocket }
}

async function findQemu({ qemu: configured, state }: ProgramPaths): Promise<Program> {
  if (process.arch !== "x64") {
    const message = `QEMU's microvm machine is x86-64 only; this host is ${process.arch}`
    throw new Failure("UNSUPPORTED", message, { hint: 'use vmm: "firecracker"', subject: "vmm" })
  }
  const inPath = findProgram(PROGRAM)
  const found = configured ?? inPath.path
  if (found !== undefined) return { path: found, version: await versionOf(found, state) }
  const hint = "install it (Debian and Ubuntu: apt-get install qemu-system-x86) or put it in PATH"
  const message = [`${PROGRAM} is not in PATH`, ...inPath.passedOver].join("; ")
  throw new Failure("HOST_LACKS", message, { hint, subject: PROGRAM })
}

async function connect(controlPath: HostPath, begin: (qmp: Qmp) => Promise<void>): Promise<Control> {
  let announced: string | undefined
  const qmp = await connectQmp(controlPath, ({ event, data }) => {
    if (event === "SHUTDOWN" && typeof data.reason === "string") announced = data.reason
  })
  const ready = qmp.ready.then(() => begin(qmp))
  // Whoever awaits it sees the failure; nobody may be waiting when QEMU ends early.
  ready.catch(() => {})
  const keys = ["ctrl", "alt", "delete"].map((key) => ({ type: "qcode", data: key }))
  return {
    ready,
    async pressCtrlAltDel() {
      // A paused guest, whoever paused it, would not notice the keys.
      const { status } = v.parse(statusSchema, await qmp.command("query-status"))
      if (status === "paused") await qmp.command("cont")
      await qmp.command("send-key", { keys })
    },
    pause: async () => void (await qmp.command("stop")),
    resume: async () => void (await qmp.command("cont")),
    announced: () => announced,
    closed: qmp.closed,
    inherit: qmp.inherit,
  }
}

/** The version, which its command line depends on. */
async function versionOf(path: string, state: string | undefined): Promise<Version> {
  const version = parseVersion(await versionsIn(state)(path))
  if (version === undefined) throw lacking(`${path} --version prints no version: is it QEMU?`, path)
  if (!isAtLeast(version, [7, 2])) {
    throw lacking(`${path} is QEMU ${version.join(".")}, which is too old: 7.2 or newer is needed`, path)
  }
  return version
}

function lacking(message: string, path: string): Failure {
  const hint = "install QEMU 7.2 or newer, or name it as `qemu` in banger's config.toml"
  return new Failure("HOST_LACKS", message, { hint, subject: path })
}
