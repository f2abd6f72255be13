import { expect, test } from "bun:test"
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { asUser } from "../../src/base/linux/asUser.ts"
import { O } from "../../src/base/linux/constants.ts"
import { close, openNamed } from "../../src/base/linux/files.ts"
import { type Caller, callerOf, openSources } from "../../src/operations/helper/caller.ts"
import { attack } from "./support/attack.ts"
import { eachInItsPlace } from "./support/place.ts"

const place = eachInItsPlace()
const SWAPS = 20_000
const caller: Caller = { uid: 4242, gid: 4242, groups: [4242, 4300], name: "ann" }

/** A directory of the caller's, in one that all can cross, and a file that is root's alone. */
function arena(): { readonly dir: string; readonly secret: string } {
  const [dir, secret] = [join(place.dir, "theirs"), join(place.dir, "secret")]
  mkdirSync(dir)
  chmodSync(place.dir, 0o711)
  chownSync(dir, caller.uid, caller.gid)
  writeFileSync(secret, "SECRET", { mode: 0o600 })
  return { dir, secret }
}

/** A file of the caller's directory. */
function put(path: string, { uid = caller.uid, gid = caller.gid, mode = 0o600, text = "THEIRS" } = {}): string {
  writeFileSync(path, text)
  chownSync(path, uid, gid)
  chmodSync(path, mode)
  return path
}

/** What this process is to the kernel, by its thread. */
const credentials = () =>
  /^Uid:[\s\S]*?^Groups:.*$/m.exec(readFileSync("/proc/thread-self/status", "utf8"))?.[0] +
  (/^CapEff:.*$/m.exec(readFileSync("/proc/thread-self/status", "utf8"))?.[0] ?? "")

test("what a caller could read is opened, by whatever right they have to it, and nothing else", () => {
  const { dir, secret } = arena()
  const before = credentials()
  using sources = openSources(caller)
  const own = put(join(dir, "own"))
  const groups = put(join(dir, "groups"), { uid: 0, gid: 4300, mode: 0o640 })
  const all = put(join(dir, "all"), { uid: 0, gid: 0, mode: 0o644 })
  symlinkSync(own, join(dir, "link"))
  for (const path of [own, groups, all, join(dir, "link")])
    expect(readFileSync(sources.take("kernel", path), "utf8")).toBe("THEIRS")

  const roots = put(join(dir, "roots"), { uid: 0, gid: 0 })
  const others = put(join(dir, "others"), { uid: 4243, gid: 4243 })
  const hidden = join(place.dir, "hidden")
  mkdirSync(hidden, { mode: 0o700 })
  writeFileSync(join(hidden, "file"), "SECRET", { mode: 0o644 })
  symlinkSync(secret, join(dir, "to-secret"))
  const fifo = join(dir, "fifo")
  Bun.spawnSync(["mkfifo", "-m", "666", fifo])
  const held = openSync(secret, "r")
  const refused = [
    ...[
      secret,
      roots,
      others,
      join(hidden, "file"),
      join(dir, "to-secret"),
      fifo,
      dir,
      put(join(dir, "empty"), { text: "" }),
    ],
    ...["/dev/zero", "/dev/null", "/proc/self/root/etc/passwd", `/proc/self/fd/${held}`, "/proc/self/cwd/etc/passwd"],
    ...["/proc/self/environ", "/proc/self/maps", "/proc/self/mem", "/proc/1/environ", "/proc/version", "/proc/kcore"],
    ...["/sys/kernel/notes", "/etc/shadow", join(dir, "none"), `${own}/x`, `/${"x".repeat(300)}`],
  ]
  for (const path of refused)
    expect(() => sources.take("kernel", path), path).toThrow(/^kernel: .* (?:cannot be read by ann|is not|is empty)/)
  closeSync(held)
  expect(credentials()).toBe(before)
  expect(readFileSync(secret, "utf8")).toBe("SECRET")
})

test("a file that was taken stays the very one, whatever gets its name; what a user calls so is not", () => {
  const { dir, secret } = arena()
  const sources = openSources(caller)
  const own = put(join(dir, "own"))
  const token = sources.take("kernel", own)
  expect(() => sources.take("initrd", token)).toThrow("cannot be read")
  renameSync(own, join(dir, "old"))
  symlinkSync(secret, own)
  const again = openNamed(token, O.RDONLY)
  expect(readFileSync(again, "utf8")).toBe("THEIRS")
  close(again)
  expect(sources.shown(`${token}: no`)).toBe(`${own}: no`)
  sources[Symbol.dispose]()
  expect(() => openNamed(token, O.RDONLY)).toThrow()
})

test("a file that is lent twice at once is there until the last one has it no more", async () => {
  const { dir } = arena()
  using sources = openSources(caller)
  const own = put(join(dir, "own"))
  const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let token = ""
  const lent = [first, second].map(({ promise }) =>
    sources.lend("stage.copy", own, async (path) => {
      token = path
      await promise
      // What came meanwhile may have got the descriptor's number, and is not the caller's.
      return readFileSync(path, "utf8")
    }),
  )
  first.resolve()
  expect(await lent[0]).toBe("THEIRS")
  using others = openSources({ ...caller, uid: 4243, gid: 4243, groups: [] })
  others.take("kernel", put(join(dir, "other"), { mode: 0o644, text: "ANOTHER" }))
  second.resolve()
  expect(await lent[1]).toBe("THEIRS")
  expect(() => openNamed(token, O.RDONLY)).toThrow()
  // One that is also taken is held as long as the VM is.
  const kept = sources.take("kernel", own)
  await sources.lend("stage.copy", own, async () => {})
  expect(readFileSync(kept, "utf8")).toBe("THEIRS")
})

test("no swap of a name, however fast, gets a caller what they could not read; one who looks first is caught", async () => {
  const { dir, secret } = arena()
  const own = put(join(dir, "own"))
  const attacker = await attack(caller.uid, secret, dir, ["own"])
  const seen = { theirs: 0, secret: 0, refused: 0 }
  const naive = { theirs: 0, secret: 0, refused: 0 }
  const tell = (counts: typeof seen, read: () => string) => {
    try {
      counts[read() === "THEIRS" ? "theirs" : "secret"]++
    } catch {
      counts.refused++
    }
  }
  for (let round = 0; round < SWAPS; round++) {
    tell(seen, () => {
      using sources = openSources(caller)
      return readFileSync(sources.take("kernel", own), "utf8")
    })
    tell(naive, () => {
      close(asUser(caller, () => openNamed(own, O.RDONLY | O.NONBLOCK)))
      return readFileSync(own, "utf8")
    })
  }
  const { swaps } = await attacker.stop()
  expect(swaps[0]).toBeGreaterThan(1000)
  expect(seen.secret).toBe(0)
  expect(seen.theirs).toBeGreaterThan(100)
  expect(seen.refused).toBeGreaterThan(100)
  // The attacker is one.
  expect(naive.secret).toBeGreaterThan(0)
  for (const name of ["own", "own.evil"]) {
    try {
      unlinkSync(join(dir, name))
    } catch {
      // Which of them is there is the attacker's affair.
    }
  }
})

test("the caller is whom sudo says, if there is such a user, and it is not root", () => {
  for (const uid of [
    undefined,
    "",
    "root",
    "-1",
    "0",
    "00",
    "01",
    "1e3",
    " 1",
    "1 ",
    "4294967295",
    "4294967294",
    "99999999999",
    "1900000000",
  ])
    expect(() => callerOf(uid), String(uid)).toThrow(/^__helper: /)
  expect(callerOf("65534")).toMatchObject({ uid: 65534, name: "nobody" })
})
