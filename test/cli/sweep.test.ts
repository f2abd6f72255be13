import { expect, test } from "bun:test"
import { failureOf, summary } from "../../src/cli/show/sweep.ts"
import { noTotals } from "../../src/host/sockets/report.ts"
import { metricsText } from "../../src/upkeep/metrics/sweep.ts"
import { requireLinux, type SweepReport } from "../../src/upkeep/sweep/sweep.ts"
import { cronText, variablesOf } from "../../src/upkeep/system/schedule.ts"
import { unitsOf } from "../../src/upkeep/system/units.ts"

const directory = (is: "swept" | "busy") => ({ path: "/x", is, sockets: [] })
const report = (
  totals: Partial<SweepReport["totals"]> = {},
  states: ("swept" | "busy")[] = ["swept"],
): SweepReport => ({
  dryRun: false,
  durationSeconds: 0.5,
  totals: { ...noTotals(), ...totals },
  vms: [],
  leftovers: [],
  directories: states.map(directory),
})

test("the summary counts what there was, and leaves out what there was not", () => {
  const kept = { ...noTotals().kept, young: 2, lock: 1 }
  expect(summary(report({ examined: 14, alive: 3, removed: 8, dead: 8, kept }, ["swept", "swept"]))).toBe(
    "14 sockets in 2 directories: 3 alive, 8 removed, 3 kept (2 young, 1 lock)",
  )
  expect(summary({ ...report({ examined: 2, dead: 1, unknown: 1, errors: 1 }), dryRun: true })).toBe(
    "2 sockets in 1 directory: 0 alive, 1 would be removed, 1 unknown, 1 error",
  )
})

test("a kernel older than what a sweep relies on is refused", () => {
  for (const version of ["5.14.0", "6.1.0-56-cloud-amd64", "10.0"]) expect(() => requireLinux(version)).not.toThrow()
  for (const version of ["5.10.0-28-amd64", "4.19.0", "5.13", ""]) expect(() => requireLinux(version)).toThrow("5.14")
})

test("the exit code tells errors from a busy directory, which cron need not hear of", () => {
  expect(failureOf(report(), false)).toBeUndefined()
  expect(failureOf(report({}, ["swept", "busy"]), false)).toMatchObject({ code: "BUSY", exit: 75 })
  expect(failureOf(report({}, ["busy"]), true)).toBeUndefined()
  expect(failureOf(report({ errors: 1 }, ["busy"]), true)).toMatchObject({ code: "NOT_RELEASED", exit: 1 })
})

test("metrics are in Prometheus' text format, one HELP and TYPE each", () => {
  const text = metricsText(report({ examined: 5 }), { now: 100.5, success: undefined })
  expect(text).toContain(
    "# HELP banger_sweep_sockets_examined Sockets that the last sweep looked at.\n# TYPE banger_sweep_sockets_examined gauge\nbanger_sweep_sockets_examined 5\n",
  )
  expect(text).toContain("banger_sweep_last_run_timestamp_seconds 100.5\n")
  expect(text).not.toContain("last_success")
  for (const line of text.trimEnd().split("\n"))
    expect(line).toMatch(/^(?:# (?:HELP|TYPE) \w+ .+|\w+(?:\{(?:reason|is)="[\w ]+"\})? [\d.]+)$/)
})

test("a cron file runs the sweep every minute, its words safe from the shell and from cron", () => {
  const lines = cronText({ program: "/usr/bin/banger", dirs: ["/run/a b", "/run/50%", "/run/it's"] }).split("\n")
  expect(lines.at(-1)).toBe("* * * * * root /usr/bin/banger sweep --quiet '/run/a b' /run/50\\% '/run/it'\\''s'")
})

test("systemd units run it too, its words safe from systemd", () => {
  const dirs = ["/run/a b", "/run/50%", "/run/$x", '/run/"q"']
  const text = unitsOf("system", { program: "/usr/bin/banger", dirs })
    .map((unit) => unit.text)
    .join("\n")
  expect(text).toContain('ExecStart=/usr/bin/banger sweep --quiet "/run/a b" /run/50%% /run/$$x "/run/\\"q\\""\n')
  expect(text).toContain("OnCalendar=minutely")
})

test.each([["run/x"], ["/run/new\nline"]])("%p is no directory for cron or systemd", (dir) => {
  expect(() => cronText({ program: "/b", dirs: [dir] })).toThrow()
  expect(() => unitsOf("system", { program: "/b", dirs: [dir] })).toThrow()
})

test("what the host runs later finds the VMs of who had it written, whatever is in their places' names", () => {
  const variables = variablesOf(
    {
      ...{
        BANGER_STATE_DIR: "/srv/a b",
        BANGER_RUNTIME_DIR: "/run/50%",
        BANGER_CONFIG: '/etc/$x"',
        HOME: "/root",
        XDG_STATE_HOME: "",
      },
    },
    0,
  )
  const line =
    cronText({ program: "/usr/bin/banger", dirs: [], variables }).split("\n").at(-1)?.replace("* * * * * root ", "") ??
    ""
  const told = Bun.spawnSync(
    ["sh", "-c", line.replaceAll("\\%", "%").replace("/usr/bin/banger sweep --quiet", "env")],
    { env: {} },
  )
  for (const [name, value] of variables) expect(told.stdout.toString()).toContain(`${name}=${value}\n`)
  const units = unitsOf("system", { program: "/usr/bin/banger", dirs: [], variables })
  for (const { name, text } of units.filter((unit) => unit.name.endsWith(".service"))) {
    expect([name, text]).toEqual([name, expect.stringContaining('Environment="BANGER_STATE_DIR=/srv/a b"\n')])
    expect(text).toContain('Environment="BANGER_RUNTIME_DIR=/run/50%%"\n')
    expect(text).toContain('Environment="BANGER_CONFIG=/etc/$x\\""\n')
  }
  expect(units[0]?.text).toContain('RequiresMountsFor=/var/lib/banger "/srv/a b" /etc/banger/vms\n')
  expect(() => variablesOf({ BANGER_STATE_DIR: "/a\nb" }, 0)).toThrow()
})

test("a user's line runs as that user, and finds the user's VMs", () => {
  const env = { XDG_RUNTIME_DIR: "/run/user/1000", XDG_STATE_HOME: "/srv/a", BANGER_STATE_DIR: "" }
  const text = cronText({ program: "/b", dirs: [], user: "alice", variables: variablesOf(env, 1000) })
  expect(text.split("\n").at(-1)).toBe(
    "* * * * * alice XDG_STATE_HOME=/srv/a XDG_RUNTIME_DIR=/run/user/1000 /b sweep --quiet",
  )
  expect(text).toStartWith("# /etc/cron.d/banger-alice: ")
  // Root's places go by none of them.
  expect(variablesOf(env, 0)).toEqual([])
})
