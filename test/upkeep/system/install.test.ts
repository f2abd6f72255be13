import { expect, test } from "bun:test"
import {
  appendFileSync,
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { isFailure } from "../../../src/base/terms/failure.ts"
import { enabledOf, placeUnits, removeUnits, signed, writerOf } from "../../../src/upkeep/system/install.ts"
import { requireSafeProgram } from "../../../src/upkeep/system/schedule.ts"
import { unitsOf } from "../../../src/upkeep/system/units.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const units = unitsOf("system", { program: "/usr/local/bin/banger", dirs: [] })
const names = units.map(({ name }) => name)
const dir = () => join(directory.path, "etc/systemd")

function failureOf(work: () => unknown): unknown {
  try {
    work()
  } catch (error) {
    return isFailure(error) ? { code: error.code, subject: error.subject } : error
  }
  return undefined
}

test("units are written whole, readable by all, once; and removed again, with nothing else", () => {
  mkdirSync(dir(), { recursive: true })
  writeFileSync(join(dir(), "other.service"), "")
  expect(placeUnits(dir(), units).map(({ is }) => is)).toEqual(names.map(() => "written"))
  expect(statSync(join(dir(), "banger@.service")).mode & 0o777).toBe(0o644)
  expect(placeUnits(dir(), units).map(({ is }) => is)).toEqual(names.map(() => "unchanged"))
  // An update of banger writes others.
  const later = units.map(({ name, text }) => ({ name, text: `${text}# more\n` }))
  expect(placeUnits(dir(), later).map(({ is }) => is)).toEqual(names.map(() => "written"))
  expect(readdirSync(dir()).sort()).toEqual([...names, "other.service"].sort())
  expect(removeUnits(dir(), names).map(({ is }) => is)).toEqual(names.map(() => "removed"))
  expect(readdirSync(dir())).toEqual(["other.service"])
  expect(removeUnits(dir(), names)).toEqual([])
  expect(removeUnits(join(dir(), "none"), names)).toEqual([])
})

test.each<[string, (path: string) => void]>([
  ["somebody else's file", (path) => writeFileSync(path, "[Unit]\n")],
  ["a file that was changed", (path) => appendFileSync(path, "# mine\n")],
  ["a link, as a masked unit is", (path) => symlinkSync("/dev/null", path)],
  ["a directory", (path) => mkdirSync(path)],
  ["a file of any size", (path) => writeFileSync(path, "x".repeat(100_000))],
])("%s is neither replaced nor removed, and then nothing is", (what, put) => {
  const [first, ...others] = units
  placeUnits(dir(), what === "a file that was changed" ? units : others)
  const path = join(dir(), first?.name ?? "")
  put(path)
  const before = readdirSync(dir())
  const changed = units.map(({ name, text }) => ({ name, text: `${text}# more\n` }))
  for (const attempt of [() => placeUnits(dir(), changed), () => removeUnits(dir(), names)])
    expect(failureOf(attempt)).toMatchObject({ code: "IN_USE", subject: path })
  expect(readdirSync(dir())).toEqual(before)
  expect(readFileSync(join(dir(), "banger-sweep.timer"), "utf8")).not.toContain("# more")
})

test("who wrote a file shows in its first line", () => {
  const [unit] = units
  if (unit === undefined) throw new Error("there are units")
  expect(writerOf(signed(unit))).toBe("banger")
  expect(writerOf(`${signed(unit)}# more\n`)).toBe("changed")
  expect(writerOf(unit.text)).toBe("another")
  expect(writerOf("")).toBe("another")
})

test("what is enabled still is told by its links", () => {
  mkdirSync(join(dir(), "multi-user.target.wants"), { recursive: true })
  for (const name of ["banger@web.service", "banger@.service", "banger-boot.service", "ssh.service"])
    symlinkSync("/none", join(dir(), "multi-user.target.wants", name))
  writeFileSync(join(dir(), "x.wants"), "")
  expect(enabledOf(dir(), names)).toEqual(["banger-boot.service", "banger@.service", "banger@web.service"])
  expect(enabledOf(join(dir(), "none"), names)).toEqual([])
})

test("a directory that cannot be written is a failure, and nothing is left", () => {
  if (process.geteuid?.() === 0) return
  mkdirSync(dir(), { recursive: true })
  chmodSync(dir(), 0o500)
  expect(failureOf(() => placeUnits(dir(), units))).toMatchObject({ code: "BAD_FILE" })
  expect(readdirSync(dir())).toEqual([])
})

test("a unit runs the plugin of its name, and no word of a directory is systemd's", () => {
  const of = (manager: "system" | "user") => unitsOf(manager, { program: "/opt/b r/banger", dirs: [] })[0]?.text ?? ""
  expect(of("system")).toContain('ExecStart="/opt/b r/banger" run --name %i /etc/banger/vms/%i.ts\n')
  expect(of("user")).toContain('ExecStart="/opt/b r/banger" run --name %i %E/banger/vms/%i.ts\n')
  expect(of("user")).not.toContain("NoNewPrivileges")
  for (const line of [
    ...["Type=notify", "NotifyAccess=main", "KillMode=process", "Restart=on-failure", "SyslogLevelPrefix=no"],
    "After=banger-boot.service banger-shutdown.service",
  ])
    expect(of("system").split("\n")).toContain(line)
})

test("what others can change is no program for the host to run as root", () => {
  const at = join(dir(), "bin")
  mkdirSync(at, { recursive: true, mode: 0o755 })
  const program = join(at, "banger")
  writeFileSync(program, "", { mode: 0o755 })
  symlinkSync(program, join(dir(), "link"))
  const refused = (path: string) => failureOf(() => requireSafeProgram(path))
  expect(requireSafeProgram(join(dir(), "none"))).toBeUndefined()
  if (process.geteuid?.() !== 0)
    return void expect(refused(program)).toMatchObject({ code: "UNTRUSTED", subject: realpathSync(program) })
  requireSafeProgram(program)
  const wrongs: readonly [() => void, () => void][] = [
    [() => chmodSync(program, 0o775), () => chmodSync(program, 0o755)],
    [() => chownSync(program, 4242, 0), () => chownSync(program, 0, 0)],
    [() => chmodSync(at, 0o757), () => chmodSync(at, 0o755)],
    [() => chownSync(at, 4242, 0), () => chownSync(at, 0, 0)],
  ]
  for (const [spoil, mend] of wrongs) {
    spoil()
    for (const path of [program, join(dir(), "link")])
      expect(refused(path)).toMatchObject({ code: "UNTRUSTED", subject: realpathSync(program) })
    mend()
    requireSafeProgram(program)
  }
})

test("what stops VMs when the host goes down starts nothing, so that it cannot have failed", () => {
  for (const manager of ["system", "user"] as const) {
    const of = (name: string) =>
      unitsOf(manager, { program: "/b/banger", dirs: [] }).find((unit) => unit.name === name)?.text ?? ""
    const [boot, shutdown] = [of("banger-boot.service").split("\n"), of("banger-shutdown.service").split("\n")]
    expect(shutdown.filter((line) => line.startsWith("Exec"))).toEqual(["ExecStop=/b/banger system shutdown"])
    expect(shutdown).toContain("RemainAfterExit=yes")
    expect(boot.filter((line) => line.startsWith("Exec"))).toEqual(["ExecStart=/b/banger system boot"])
    // Started before, so stopped after.
    for (const line of [
      "After=banger-shutdown.service",
      "Requires=banger-shutdown.service",
      "Also=banger-shutdown.service",
    ])
      expect(boot).toContain(line)
  }
})
