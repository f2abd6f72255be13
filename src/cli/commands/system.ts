import { homedir } from "node:os"
import { join } from "node:path"
import { Failure, isFailure } from "../../base/terms/failure.ts"
import { openState } from "../../store/state/open.ts"
import { ownProgram } from "../../upkeep/system/ownProgram.ts"
import { cronText, cronUser, requireSafeProgram, variablesOf } from "../../upkeep/system/schedule.ts"
import { type Manager, UNIT_DIRECTORY, unitsOf } from "../../upkeep/system/units.ts"
import type { Installed, Text } from "../show/documents.ts"
import { command, type Invocation } from "../terminal/command.ts"
import { stopVms } from "./stop.ts"

const dirArg = { type: "positional", required: false, description: "A directory to sweep, and more of them" } as const

export default command({
  meta: { name: "system", description: "Have the host run banger by itself: a cron file, or systemd units" },
  args: {},
  subCommands: {
    cron: command({
      meta: { name: "cron", description: "Print a file for /etc/cron.d that sweeps every minute" },
      args: { dir: dirArg },
      takesMany: true,
      run({ dir }, { more, output }) {
        const program = lastingProgram(output)
        const uid = ownUid()
        if (uid === 0) warnUnlessSafe(program, output)
        const user = cronUser(uid)
        return print(cronText({ program, dirs: dirsOf(dir, more), user, variables: ownVariables() }), output)
      },
    }),
    units: command({
      meta: { name: "units", description: "Print systemd units that run VMs, after a reboot too, and sweep" },
      args: { dir: dirArg, user: { type: "boolean", description: "Those of a user's own manager" } },
      takesMany: true,
      run({ dir, user }, { more, output }) {
        const manager = user === true ? "user" : "system"
        const program = lastingProgram(output)
        if (manager === "system") warnUnlessSafe(program, output)
        const units = unitsOf(manager, { program, dirs: dirsOf(dir, more), variables: ownVariables() })
        const texts = units.map(({ name, text }) => `# ${UNIT_DIRECTORY[manager]}/${name}\n${text}`)
        return print(texts.join("\n").trimEnd(), output)
      },
    }),
    install: command({
      meta: { name: "install", description: "Install these units; as root the host's, else your own" },
      args: { dir: dirArg, remove: { type: "boolean", description: "Remove what it has installed" } },
      takesMany: true,
      run: ({ dir, remove }, invocation) => install(invocation, { dirs: dirsOf(dir, invocation.more), remove }),
    }),
    boot: command({
      meta: { name: "boot", description: "Finish VMs that a reboot has ended, and start again what is to run always" },
      args: {},
      async run(_, { output }) {
        const { bootVms } = await import("../../operations/bootVms.ts")
        using state = openState()
        return await bootVms(state, output.log)
      },
    }),
    shutdown: command({
      meta: { name: "shutdown", description: "Stop every VM; `banger system boot` starts again what is to run always" },
      args: { vm: { type: "positional", required: false, description: "One VM instead of all, and more of them" } },
      takesMany: true,
      async run({ vm }, invocation) {
        const { shutDown, vmsToShutDown } = await import("../../operations/shutDown.ts")
        using state = openState()
        const how = { passing: true, every: () => vmsToShutDown(state) }
        if (vm !== undefined) return await stopVms(state, { ...how, vm }, invocation)
        return await shutDown(state, () => stopVms(state, { ...how, all: true }, invocation))
      },
    }),
  },
})

// --- internal ---

const ownUid = () => process.geteuid?.() ?? 0
const ownVariables = () => variablesOf(process.env, ownUid())

function dirsOf(dir: string | undefined, more: readonly string[]): readonly string[] {
  return dir === undefined ? [] : [dir, ...more]
}

function print(text: string, { show }: Invocation["output"]): undefined {
  show({ text } satisfies Text, text)
}

/** The name of this program that later calls go by; where an upgrade may take it away, that is said. */
function lastingProgram({ log }: Invocation["output"]): string {
  const { path, doubt } = ownProgram()
  if (doubt !== undefined) log.warn(`${doubt}\nrun: ln -s ${path} /usr/local/bin/banger, then this again`)
  return path
}

/** What is printed may be meant for another place. */
function warnUnlessSafe(program: string, { log }: Invocation["output"]): void {
  try {
    requireSafeProgram(program)
  } catch (error) {
    if (!isFailure(error)) throw error
    log.warn(error.hint === undefined ? error.message : `${error.message}\n${error.hint}`)
  }
}

async function install(
  { output }: Invocation,
  { dirs, remove }: { readonly dirs: readonly string[]; readonly remove: boolean | undefined },
): Promise<undefined> {
  const { enabledOf, placeUnits, removeUnits } = await import("../../upkeep/system/install.ts")
  const manager = process.geteuid?.() === 0 ? "system" : "user"
  const to = directoryOf(manager)
  const program = remove === true ? ownProgram().path : lastingProgram(output)
  if (manager === "system" && remove !== true) requireSafeProgram(program)
  const units = unitsOf(manager, { program, dirs, variables: ownVariables() })
  const names = units.map(({ name }) => name)
  const files = remove === true ? removeUnits(to, names) : placeUnits(to, units)
  const { log } = output
  const still = remove === true ? enabledOf(to, names) : []
  const systemctl = manager === "user" ? "systemctl --user" : "systemctl"
  if (still.length > 0)
    log.warn(`still enabled, and without a file now: ${still.join(", ")}; run: ${systemctl} disable ${still.join(" ")}`)
  if (files.some(({ is }) => is !== "unchanged")) {
    const { reloadUnits } = await import("../../upkeep/system/reload.ts")
    reloadUnits(manager, log)
  }
  const text = files.map(({ path, is }) => `${path}: ${is}`).join("\n")
  const document = { files: files.map(({ path, is }) => ({ path, done: is })) } satisfies Installed
  output.show(document, text)
  const plugins = manager === "user" ? "~/.config/banger/vms/NAME.ts" : "/etc/banger/vms/NAME.ts"
  if (remove !== true)
    log.info(
      `a VM of ${plugins}: ${systemctl} enable --now banger@NAME; VMs after a reboot: ${systemctl} enable --now banger-boot; sweeps: ${systemctl} enable --now banger-sweep.timer`,
    )
  return undefined
}

function directoryOf(manager: Manager): string {
  if (manager === "system") return UNIT_DIRECTORY.system
  const { XDG_CONFIG_HOME } = process.env
  const config = XDG_CONFIG_HOME?.startsWith("/") === true ? XDG_CONFIG_HOME : join(homedir(), ".config")
  if (!config.startsWith("/")) throw new Failure("BAD_CONFIG", "there is no home directory", { subject: "HOME" })
  return join(config, "systemd/user")
}
