import { expect, test } from "bun:test"
import { printablePath, shownText, textOfPath } from "../../../src/base/terms/printable.ts"
import { removalIn } from "../../../src/host/sockets/directory.ts"
import { fileSystemNamed } from "../../../src/host/sockets/fileSystems.ts"
import { layersIn, otherWaysTo } from "../../../src/host/sockets/overlays.ts"
import { countSocket, noTotals } from "../../../src/host/sockets/report.ts"
import { SWEEP_UID, UID_RANGE } from "../../../src/store/state/uids.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

test.each([
  [0xef53, "ext4", true],
  [0x58465342, "xfs", true],
  [0x9123683e, "btrfs", true],
  [0x01021994, "tmpfs", true],
  [0x794c7630, "overlay", false],
  [0x6969, "NFS", false],
  [0x65735546, "FUSE (or virtiofs)", false],
  [0x01021997, "9p", false],
  [0xabcdef, "type 0xabcdef", false],
])("a file system of magic %i is %s, allowed: %p", (magic, name, allowed) => {
  expect(fileSystemNamed(magic)).toEqual({ name, allowed })
})

test("removal is exact in a sticky directory that is not the reserved uid's, for who may give files away", () => {
  expect(removalIn({ mode: 0o41755, uid: 0 }, true)).toEqual({ removal: "exact", inexact: undefined })
  expect(removalIn({ mode: 0o41777, uid: 1000 }, true).removal).toBe("exact")
  expect(removalIn({ mode: 0o40755, uid: 0 }, true).inexact?.hint).toContain("chmod +t")
  expect(removalIn({ mode: 0o41755, uid: SWEEP_UID }, true).removal).toBe("re-checked")
  expect(removalIn({ mode: 0o41755, uid: 0 }, false).inexact?.detail).toContain("may not give files away")
})

test("the reserved uid is no VM's", () => {
  expect(SWEEP_UID < UID_RANGE.first || SWEEP_UID >= UID_RANGE.first + UID_RANGE.count).toBe(true)
})

test.each([
  ["plain.sock", "plain.sock"],
  ["mit Umläuten", "mit Umläuten"],
  ["new\nline", '"new\\nline"'],
  ["\x1b[31m", '"\\x1b[31m"'],
  ["rtl\u202e", '"rtl\\u{202e}"'],
  ['quo"te\\', '"quo\\"te\\\\"'],
])("%p is shown as %p", (name, shown) => expect(printablePath(bytes(name))).toBe(shown))

test("words for a terminal keep their lines, and nothing else that steers it", () => {
  expect(shownText("a\nb \x1b[2J\u202e\u2028 ä")).toBe("a\nb \\x1b[2J\\u{202e}\\u{2028} ä")
})

test("bytes that are no UTF-8 are shown each, and told from text that is", () => {
  expect(printablePath(new Uint8Array([0x61, 0xff, 0x0a]))).toBe('"a\\xff\\n"')
  expect(textOfPath(new Uint8Array([0x61, 0xff]))).toEqual({ text: "a\ufffd", exact: false })
  expect(textOfPath(bytes("ä"))).toEqual({ text: "ä", exact: true })
})

const OVERLAYS = [
  "31 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
  "40 31 0:30 / /merged rw - overlay overlay rw,lowerdir=/l\\0401:/l2:l/REL,upperdir=/up,workdir=/work,xino=off",
  "41 31 0:31 / /new rw - overlay none rw,lowerdir+=/a,lowerdir+=/b,upperdir=/u\\0542,workdir=/w",
  "42 31 0:32 / /colon rw - overlay none ro,lowerdir=/x\\134:y:/z::/d\\072e",
].join("\n")

test("the layers of overlays are read from a mount table, with what is escaped in it", () => {
  expect(layersIn(OVERLAYS)).toEqual(["/l 1", "/l2", "/up", "/a", "/b", "/u,2", "/x:y", "/z", "/d:e"])
  expect(layersIn("31 1 254:0 / / rw - ext4 /dev/vda rw")).toEqual([])
})

test("the other ways to what a bind mount shows are found", () => {
  const table = [
    "31 1 254:0 / / rw - ext4 /dev/vda rw",
    "50 31 254:0 /srv/up/run /alias rw - ext4 /dev/vda rw",
    "51 31 254:0 /srv /mnt/s\\040v rw - ext4 /dev/vda rw",
    "52 31 254:0 /other /other rw - ext4 /dev/vda rw",
    "53 31 0:9 / /tmp rw - tmpfs none rw",
  ].join("\n")
  expect(otherWaysTo(50n, table)).toEqual(["/srv/up/run", "/mnt/s v/up/run"])
  expect(otherWaysTo(31n, table)).toEqual([])
  expect(otherWaysTo(99n, table)).toEqual([])
})

test("totals count what is dead, removed or not, and what is unknown as an error", () => {
  const totals = noTotals()
  for (const is of ["removed", "dead", "failed", "alive", "gone", "unknown"] as const) countSocket(totals, { is })
  countSocket(totals, { is: "kept", reason: "young" })
  expect(totals).toMatchObject({ examined: 7, alive: 1, dead: 3, removed: 1, gone: 1, unknown: 1, errors: 2 })
  expect(totals.kept).toMatchObject({ young: 1, lock: 0 })
})
