import { existsSync } from "node:fs"
import { ownEnvironment } from "../../base/linux/environment.ts"
import type { Log } from "../../base/terms/log.ts"
import { findProgram } from "../../store/files/programs.ts"
import type { Manager } from "./units.ts"

/** Has systemd read its units again, where it runs (sd_booted(3)). Where it does not answer, says what to do. */
export function reloadUnits(manager: Manager, log: Pick<Log, "warn">): void {
  const { XDG_RUNTIME_DIR } = ownEnvironment()
  const runs = manager === "system" ? "/run/systemd/system" : `${XDG_RUNTIME_DIR ?? "/none"}/systemd/private`
  if (!existsSync(runs)) return
  const words = [...(manager === "user" ? ["--user"] : []), "daemon-reload"]
  const { path } = findProgram("systemctl", ["/usr/bin", "/bin"])
  const ended =
    path === undefined
      ? undefined
      : Bun.spawnSync([path, ...words], { timeout: RELOAD_MAX_MS, cwd: "/", env: { XDG_RUNTIME_DIR }, stdin: "ignore" })
  if (ended?.exitCode === 0) return
  const said = ended?.stderr.toString().trim().split("\n")[0]?.slice(0, SAID_MAX_COUNT) ?? "there is no systemctl"
  log.warn(`systemd was not told (${said}); run: systemctl ${words.join(" ")}`)
}

// --- internal ---

/** A manager that does not answer is waited for so long, in milliseconds. */
const RELOAD_MAX_MS = 90_000

/** Of what it says, so many characters are passed on. */
const SAID_MAX_COUNT = 200
