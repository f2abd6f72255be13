import { realpathSync } from "node:fs"
import { basename } from "node:path"
import { errorCode } from "../../base/linux/errors.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { type HostPath, inJail, withoutJail } from "../../base/terms/path.ts"
import { findProgram } from "../../store/files/programs.ts"
import { type VersionOf, versionsIn } from "../../store/files/programVersion.ts"
import type {
  Boot,
  ConnectOptions,
  ConsoleListener,
  Control,
  Ending,
  ExitReason,
  LaunchPlace,
  Program,
  ProgramPaths,
  Vmm,
  VmmLaunch,
} from "../vmm/vmm.ts"
import { addedBytes } from "./addedWords.ts"
import { type Api, type ApiRequest, openApi } from "./api.ts"
import { API_SOCKET, bareArgv, jailerArgv, METRICS, socketOf, VSOCK } from "./argv.ts"
import { requireBody } from "./bodies.ts"
import { requireDrives, requireNeeds } from "./bounds.ts"
import { devicesOf } from "./devices.ts"
import { HALTED_TAIL_BYTES, saysHalted } from "./halted.ts"
import { requireHugePages } from "./hugePages.ts"
import { INSTANCE, type Instance } from "./replies.ts"
import {
  actingRequests,
  CTRL_ALT_DEL,
  type OwnFiles,
  PAUSE,
  RESUME,
  RUN_RESTORED,
  settingRequests,
} from "./requests.ts"
import { knownBad, parseRelease, type Release, requireKnown, requireSupported, versionOf } from "./version.ts"

// The room firecracker: starts Firecracker, through its jailer or bare, and speaks its API.
// The rule: a setting is checked before anything is made, and a refusal names the setting and quotes Firecracker.

/** Firecracker as a VMM: through its jailer, or bare without a jail. */
export const firecracker: Vmm = {
  name: "firecracker",
  find,
  // The jailer resolves symlinks before it names the directory after the program.
  jailName: ({ path }) => basename(path),
  // Firecracker itself tells the kernel where the root file system is.
  bootArgs: () => [],
  require(program, needs) {
    if (needs.jailed) jailerOf(program)
    requireNeeds(program, needs)
  },
  addedBytes,
  tellsMtu: ({ version: [major, minor] }) => major > 1 || minor >= 16,
  requireNow: (boot, freed) => requireHugePages(boot, { freed }),
  launch,
  connect,
  control: ({ runtime }, root) => ({ is: "own", ...socketOf(API_SOCKET, runtime, root) }),
  adopt: async (socket) => controlOf(openApi(socket), Promise.resolve()),
  listenToConsole,
  reason: exitReason,
}

/** Why Firecracker ended. Its exit code is the same for a guest's reset and a panic: only the console tells. */
export function exitReason({ code, signal, announced }: Ending): ExitReason {
  if (announced === "halted") return "guest powered off"
  if (signal === "SIGKILL") return "killed"
  if (signal === "SIGTERM" || signal === "SIGINT") return "stopped"
  if (signal === null && code === null) return "lost"
  return code === 0 && signal === null ? "guest reset" : "crashed"
}

// --- internal ---

const HINT =
  "run: banger get firecracker; or get both from one release at https://github.com/firecracker-microvm/firecracker/releases and put them in PATH as " +
  "`firecracker` and `jailer`, or name them in banger's config.toml"

function lacking(message: string, subject: string, cause?: unknown): Failure {
  return new Failure("HOST_LACKS", message, { hint: HINT, subject, cause })
}

/** The failure of an API that is not the one of the Firecracker that was started. */
function strange(words: string): Failure {
  return new Failure("START_FAILED", `instance: ${words}`, { subject: "instance" })
}

async function find(paths: ProgramPaths): Promise<Program> {
  const path = resolved(paths.firecracker ?? inPath())
  const jailer = paths.jailer ?? findProgram("jailer").path
  const ask = versionsIn(paths.state)
  const [release, other] = await Promise.all([
    releaseOf("Firecracker", path, ask),
    jailer === undefined ? undefined : releaseOf("Jailer", jailer, ask),
  ])
  requireSupported(path, release)
  if (other !== undefined && other.join(".") !== release.join(".")) {
    const both = `${path} is version ${release.join(".")}, ${jailer} is version ${other.join(".")}`
    throw lacking(`Firecracker and its jailer must be of one release: ${both}`, path)
  }
  return { path, jailer, version: versionOf(release), warning: knownBad(release) }
}

function inPath(): string {
  const { path, passedOver } = findProgram("firecracker")
  if (path === undefined) throw lacking(["firecracker is not in PATH", ...passedOver].join("; "), "firecracker")
  return path
}

function jailerOf({ jailer }: Program): string {
  if (jailer !== undefined) return jailer
  const words = ["jailer is not in PATH", ...findProgram("jailer").passedOver].join("; ")
  throw new Failure("HOST_LACKS", words, { hint: `${HINT}; or run without a jail (jail: false)`, subject: "jailer" })
}

function resolved(path: string): string {
  try {
    return realpathSync(path)
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error
    throw new Failure("BAD_CONFIG", `there is no ${path}`, { hint: HINT, subject: path, cause: error })
  }
}

async function releaseOf(program: "Firecracker" | "Jailer", path: string, ask: VersionOf): Promise<Release> {
  let text: string
  try {
    text = await ask(path)
  } catch (error) {
    throw lacking(`${path} cannot be run: ${messageOf(error)}`, path, error)
  }
  const release = parseRelease(program, text)
  if (release === undefined) throw lacking(`${path} --version prints no version of ${program}`, path)
  return release
}

function launch(program: Program, boot: Boot, place: LaunchPlace): VmmLaunch {
  const { confinement } = boot
  requireDrives(boot)
  const control = firecracker.control(place, confinement?.root)
  const pci = boot.firecracker.pci === true
  if (confinement === undefined) {
    const { runtime, firecrackerLog: log } = place
    return { argv: bareArgv({ executable: program.path, id: boot.name, runtime, log, pci }), control }
  }
  const { jails } = place
  const jailed = { jailer: jailerOf(program), executable: program.path, id: boot.name, base: jails, confinement }
  const limits = boot.firecracker.resource_limit
  return { argv: jailerArgv({ ...jailed, netns: undefined, pci, limits }), control }
}

function connect(boot: Boot, { place, onStep, beforeResume }: ConnectOptions): (socket: HostPath) => Promise<Control> {
  const wait = ({ method, path }: ApiRequest<unknown>) => onStep(`answer ${method} ${path}`)
  const settings = settingRequests(boot, ownFiles(boot, place))
  settings.forEach(requireBody)
  const configure = async (api: Api) => {
    const { id, vmm_version } = await firstAnswer(() => api.requestAll(INSTANCE, settings, wait))
    if (id !== boot.name) throw strange(`the API is of ${id}, not of ${boot.name}`)
    const release = parseRelease("Firecracker", `Firecracker v${vmm_version}`)
    if (release === undefined) throw strange(`${vmm_version} is not a version of Firecracker`)
    requireKnown(needsOf(boot), release)
    for (const request of actingRequests(boot, release)) {
      requireBody(request)
      if (request === RUN_RESTORED) beforeResume()
      wait(request)
      await api.request(request)
    }
  }
  return async (socket) => {
    const api = openApi(socket)
    const ready = configure(api)
    ready.catch(() => {})
    return controlOf(api, ready)
  }
}

function controlOf(api: Api, ready: Promise<void>): Control {
  return {
    ...listenToConsole(),
    ready,
    pressCtrlAltDel: process.arch === "x64" ? () => pressCtrlAltDel(api) : undefined,
    pause: () => api.request(PAUSE),
    resume: () => api.request(RESUME),
    devices: devicesOf(api),
    // The API sends nothing by itself: when the process has gone, nothing more is to come.
    closed: Promise.resolve(),
  }
}

function listenToConsole(): ConsoleListener {
  const halted = Promise.withResolvers<void>()
  let announced: string | undefined
  let tail = ""
  return {
    announced: () => announced,
    onConsole(chunk) {
      tail = (tail + new TextDecoder("latin1").decode(chunk)).slice(-HALTED_TAIL_BYTES)
      if (announced !== undefined || !saysHalted(tail)) return
      announced = "halted"
      halted.resolve()
    },
    halted: halted.promise,
  }
}

/** A paused guest, whoever paused it, would not notice the keys: it is resumed first. */
async function pressCtrlAltDel(api: Api): Promise<void> {
  const { state } = await api.request(INSTANCE)
  if (state === "Paused") await api.request(RESUME)
  await api.request(CTRL_ALT_DEL)
}

/** The socket exists before its server listens, so the first request is repeated until it is answered. The caller has the limit. */
async function firstAnswer(ask: () => Promise<Instance>): Promise<Instance> {
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (!isRefused(error)) throw error
      await Bun.sleep(LISTEN_WAIT_MS)
    }
  }
}

/** Between bind(2) and listen(2) of a socket there is less than this, in milliseconds. */
const LISTEN_WAIT_MS = 1

function isRefused(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    const code = errorCode(at)
    if (code === "ECONNREFUSED" || code === "ConnectionRefused") return true
  }
  return false
}

function needsOf({ firecracker, initrd, network, restore }: Boot): Parameters<typeof requireKnown>[0] {
  const networked = network !== false && network.tap !== undefined
  return { firecracker, initrd: initrd !== undefined, networked, restored: restore !== undefined }
}

function ownFiles({ confinement }: Boot, { runtime, firecrackerMetrics }: LaunchPlace): OwnFiles {
  const root = confinement?.root
  const metrics = root === undefined ? withoutJail(firecrackerMetrics) : inJail(root, METRICS)
  return { vsock: socketOf(VSOCK, runtime, root).jail, metrics: metrics.jail }
}
