import { basename } from "node:path"
import { Failure } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"

/** The path of this program, for a line that runs it later. From source: the path of an installed one. */
export function ownProgram(execPath = process.execPath): string {
  return basename(execPath).startsWith("banger") ? execPath : "/usr/local/bin/banger"
}

/** A file for /etc/cron.d that sweeps every minute (crontab(5)). Pure. */
export function cronText(program: string, dirs: readonly string[]): string {
  const command = shellWords([program, "sweep", "--quiet", ...checked(dirs)])
  return [
    "# /etc/cron.d/banger: removes sockets that nothing is bound to, every minute; it says nothing unless something is wrong.",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    // In a crontab a bare % is a newline.
    `* * * * * root ${command.replaceAll("%", "\\%")}`,
  ].join("\n")
}

/** A systemd service and its timer, each under a line that names its file (systemd.service(5), systemd.timer(5)). Pure. */
export function unitsText(program: string, dirs: readonly string[]): string {
  const command = [program, "sweep", "--quiet", ...checked(dirs)].map(unitWord).join(" ")
  return [
    "# /etc/systemd/system/banger-sweep.service",
    "[Unit]",
    "Description=Remove sockets that nothing is bound to",
    "",
    "[Service]",
    "Type=oneshot",
    `ExecStart=${command}`,
    "# A compiled Bun program runs other code when these are set.",
    "UnsetEnvironment=BUN_OPTIONS BUN_BE_BUN BUN_INSPECT",
    "# VMs that run are nobody's to end but their own banger's.",
    "KillMode=process",
    "NoNewPrivileges=yes",
    "",
    "# /etc/systemd/system/banger-sweep.timer; then: systemctl enable --now banger-sweep.timer",
    "[Unit]",
    "Description=Remove sockets that nothing is bound to, every minute",
    "",
    "[Timer]",
    "OnCalendar=minutely",
    "RandomizedDelaySec=5s",
    "",
    "[Install]",
    "WantedBy=timers.target",
  ].join("\n")
}

// --- internal ---

function checked(dirs: readonly string[]): readonly string[] {
  for (const dir of dirs) {
    const subject = dir
    if (!dir.startsWith("/")) {
      const hint = "give an absolute path: cron and systemd start in another directory"
      throw new Failure("USAGE", `${dir} is not an absolute path`, { hint, subject })
    }
    if (/\p{Cc}/u.test(dir)) {
      const hint = "name a directory above it"
      throw new Failure("USAGE", `${JSON.stringify(dir)} has control characters`, { hint, subject })
    }
  }
  return dirs
}

/** systemd.service(5), "COMMAND LINES": `%` and `$` are doubled, `\` and `"` escaped within double quotes. */
function unitWord(word: string): string {
  const escaped = word.replaceAll("%", "%%").replaceAll("$", "$$$$")
  return /^[\w@%+=:,./$-]+$/.test(escaped) ? escaped : `"${escaped.replace(/["\\]/g, "\\$&")}"`
}
