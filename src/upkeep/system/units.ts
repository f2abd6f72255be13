import { checkedDirs, type Variable } from "./schedule.ts"

/** Whose units they are: the host's, run as root, or a user's own. */
export type Manager = "system" | "user"

/** One file of systemd's. */
export interface Unit {
  readonly name: string
  readonly text: string
}

/** What the units run. */
export interface UnitOptions {
  /** The absolute path of banger. */
  readonly program: string
  /** Directories to sweep besides banger's own. */
  readonly dirs: readonly string[]
  /** The variables that say where VMs are. */
  readonly variables?: readonly Variable[]
}

/** The units that run VMs and sweeps, by systemd.unit(5), systemd.service(5), systemd.exec(5) and systemd.kill(5). Pure. */
export function unitsOf(manager: Manager, { program, dirs, variables = [] }: UnitOptions): readonly Unit[] {
  const run = (...words: readonly string[]) => `ExecStart=${[program, ...words].map(unitWord).join(" ")}`
  const vms = VMS[manager]
  const clean = [...CLEAN, ...variables.map(environmentOf)]
  const state = variables.find(([name]) => name === "BANGER_STATE_DIR")?.[1]
  const { after, wants, mounts, hardening, target } = PARTS[manager]
  const vm = [
    "[Unit]",
    "Description=VM %i",
    ...after(["banger-boot.service banger-shutdown.service"]),
    ...wants,
    ...mounts([...(state === undefined ? [] : [mountWord(state)]), vms]),
    `AssertPathExists=${vms}/%i.ts`,
    "# A supervisor that is killed comes back each time; a plugin that cannot be run is given up in the end.",
    "StartLimitIntervalSec=10min",
    "StartLimitBurst=30",
    "",
    "[Service]",
    "Type=notify",
    "NotifyAccess=main",
    // Words of systemd's own: no unitWord.
    `${run("run", "--name")} %i ${vms}/%i.ts`,
    "# banger ends a start, a hook and a stop by the plugin's limits, and has systemd wait as long.",
    "TimeoutStartSec=infinity",
    "TimeoutStopSec=1min",
    "WatchdogSec=2min",
    "# The VM outlives its supervisor: the next one watches the same guest.",
    "KillMode=process",
    "Restart=on-failure",
    "RestartSec=1s",
    "# It was told to stop (SIGINT, SIGTERM); what is wrong with the command or the plugin stays so.",
    "SuccessExitStatus=130 143",
    "RestartPreventExitStatus=2",
    "# A guest chooses what it prints, not how grave that is.",
    "SyslogLevelPrefix=no",
    ...clean,
    ...hardening,
    "",
    "[Install]",
    `WantedBy=${target}`,
  ]
  const boot = [
    "[Unit]",
    "Description=VMs that outlive the host's boots",
    ...after(["banger-shutdown.service"]),
    "Requires=banger-shutdown.service",
    ...wants,
    ...mounts(state === undefined ? [] : [mountWord(state)]),
    "",
    "[Service]",
    "Type=oneshot",
    "RemainAfterExit=yes",
    run("system", "boot"),
    "TimeoutStartSec=infinity",
    "# A start that is under way goes on.",
    "KillMode=process",
    ...clean,
    "",
    "[Install]",
    `WantedBy=${target}`,
    "Also=banger-shutdown.service",
  ]
  const shutdown = [
    "[Unit]",
    "Description=An end in time for VMs when the host goes down",
    ...after([]),
    ...mounts(state === undefined ? [] : [mountWord(state)]),
    "",
    "[Service]",
    "# Nothing is started, so that nothing can fail: a unit that has failed is not stopped.",
    "Type=oneshot",
    "RemainAfterExit=yes",
    `ExecStop=${[program, "system", "shutdown"].map(unitWord).join(" ")}`,
    "TimeoutStopSec=3min",
    "KillMode=process",
    ...clean,
    "",
    "[Install]",
    `WantedBy=${target}`,
  ]
  const sweep = [
    "[Unit]",
    "Description=Remove sockets that nothing is bound to",
    "",
    "[Service]",
    "Type=oneshot",
    run("sweep", "--quiet", ...checkedDirs(dirs)),
    ...clean,
    "# VMs that run are nobody's to end but their own banger's.",
    "KillMode=process",
    ...(manager === "system" ? ["NoNewPrivileges=yes"] : []),
  ]
  const timer = [
    "[Unit]",
    "Description=Remove sockets that nothing is bound to, every minute",
    "",
    "[Timer]",
    "OnCalendar=minutely",
    "RandomizedDelaySec=5s",
    "",
    "[Install]",
    "WantedBy=timers.target",
  ]
  const unit = (name: string, lines: readonly string[]) => ({ name, text: `${lines.join("\n")}\n` })
  return [
    unit("banger@.service", vm),
    unit("banger-boot.service", boot),
    unit("banger-shutdown.service", shutdown),
    unit("banger-sweep.service", sweep),
    unit("banger-sweep.timer", timer),
  ]
}

/** The directory of a manager's units, as people write it. */
export const UNIT_DIRECTORY: Readonly<Record<Manager, string>> = {
  system: "/etc/systemd/system",
  user: "~/.config/systemd/user",
}

// --- internal ---

/** Where the plugins of VMs are that are services, in systemd's words. */
const VMS = { system: "/etc/banger/vms", user: "%E/banger/vms" } as const

const CLEAN = [
  "# A compiled Bun program runs other code when these are set.",
  "UnsetEnvironment=BUN_OPTIONS BUN_BE_BUN BUN_INSPECT",
]

/** What a VM may need of the host, and keeps until it has ended: names, routes, others' firewalls, disks, user managers. */
const NEEDED = [
  "network-online.target nss-lookup.target nftables.service firewalld.service docker.service",
  "remote-fs.target lvm2-monitor.service blk-availability.service multipathd.service iscsi.service nbd.service",
  "dbus.socket systemd-udev-settle.service systemd-modules-load.service systemd-sysctl.service",
]

const PARTS = {
  system: {
    after: (more: readonly string[]) => [...NEEDED, ...more].map((names) => `After=${names}`),
    wants: ["Wants=network-online.target"],
    mounts: (more: readonly string[]) => [`RequiresMountsFor=${["/var/lib/banger", ...more].join(" ")}`],
    hardening: [
      "# What can be taken from it while it makes jails and networks: docs/systemd.md says why not more.",
      "NoNewPrivileges=yes",
      "CapabilityBoundingSet=~CAP_SYS_MODULE CAP_SYS_BOOT CAP_SYS_TIME CAP_SYSLOG CAP_WAKE_ALARM CAP_AUDIT_CONTROL CAP_AUDIT_READ CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_LEASE CAP_SYS_PACCT CAP_SYS_TTY_CONFIG CAP_LINUX_IMMUTABLE CAP_BLOCK_SUSPEND",
      "RestrictNamespaces=mnt net pid ipc uts user",
      "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET AF_VSOCK",
      "RestrictRealtime=yes",
      "LockPersonality=yes",
      "SystemCallArchitectures=native",
      "SystemCallErrorNumber=EPERM",
      "SystemCallFilter=~@clock @cpu-emulation @module @obsolete @reboot @swap",
    ],
    target: "multi-user.target",
  },
  user: {
    after: (more: readonly string[]) => more.map((name) => `After=${name}`),
    wants: [],
    mounts: (more: readonly string[]) => (more.length === 0 ? [] : [`RequiresMountsFor=${more.join(" ")}`]),
    // Most of it needs NoNewPrivileges, and a plugin of a user's may need sudo.
    hardening: [],
    target: "default.target",
  },
}

/** systemd.exec(5), Environment=: `%` is doubled, `$` means nothing. */
function environmentOf([name, value]: Variable): string {
  return `Environment="${name}=${value.replaceAll("%", "%%").replace(/["\\]/g, "\\$&")}"`
}

function mountWord(path: string): string {
  return `"${path.replaceAll("%", "%%").replace(/["\\]/g, "\\$&")}"`
}

/** systemd.service(5), "COMMAND LINES": `%` and `$` are doubled, `\` and `"` escaped within double quotes. */
function unitWord(word: string): string {
  const escaped = word.replaceAll("%", "%%").replaceAll("$", "$$$$")
  return /^[\w@%+=:,./$-]+$/.test(escaped) ? escaped : `"${escaped.replace(/["\\]/g, "\\$&")}"`
}
