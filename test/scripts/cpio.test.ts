import { expect, test } from "bun:test"
import { type CpioEntry, writeCpio } from "../../scripts/guest/cpio.ts"

type Member = { path: string; fields: number[]; data: string; at: number }

const entries: CpioEntry[] = [
  { path: "init", type: "file", mode: 0o755, data: Buffer.from("#!/bin/sh\n") },
  { path: "bin", type: "directory" },
  { path: "bin/sh", type: "symlink", target: "busybox" },
  { path: "dev/console", type: "device", major: 5, minor: 1 },
]

/** A reader that knows nothing of the writer: 110 bytes of header, name and data each padded to 4. */
function parse(archive: Uint8Array): Member[] {
  const text = Buffer.from(archive).toString("latin1")
  const members: Member[] = []
  let at = 0
  while (members.at(-1)?.path !== "TRAILER!!!") {
    expect(text.slice(at, at + 6)).toBe("070701")
    const fields = Array.from({ length: 13 }, (_, i) =>
      Number.parseInt(text.slice(at + 6 + i * 8, at + 14 + i * 8), 16),
    )
    const nameSize = fields[11] ?? 0
    const start = Math.ceil((at + 110 + nameSize) / 4) * 4
    const end = start + (fields[6] ?? 0)
    members.push({ path: text.slice(at + 110, at + 110 + nameSize - 1), fields, data: text.slice(start, end), at })
    at = Math.ceil(end / 4) * 4
  }
  return members
}

test("members come sorted, with their content, and the trailer last", () => {
  const members = parse(writeCpio(entries))
  expect(members.map(({ path, data }) => [path, data])).toEqual([
    ["bin", ""],
    ["bin/sh", "busybox"],
    ["dev/console", ""],
    ["init", "#!/bin/sh\n"],
    ["TRAILER!!!", ""],
  ])
})

test("modes carry the file type", () => {
  const modes = parse(writeCpio(entries)).map(({ fields }) => fields[1]?.toString(8))
  expect(modes).toEqual(["40755", "120777", "20600", "100755", "0"])
})

test("inodes count up, owner and date are zero, a device keeps its numbers", () => {
  const members = parse(writeCpio(entries)).slice(0, -1)
  expect(members.map(({ fields }) => fields[0])).toEqual([1, 2, 3, 4])
  for (const { fields } of members) expect([fields[2], fields[3], fields[5]]).toEqual([0, 0, 0])
  expect(members[2]?.fields.slice(9, 11)).toEqual([5, 1])
})

test("every member starts at a multiple of 4, the archive fills whole blocks", () => {
  const archive = writeCpio(entries)
  expect(parse(archive).every(({ at }) => at % 4 === 0)).toBe(true)
  expect(archive.length % 512).toBe(0)
})

test("the order of the entries changes no byte", () => {
  expect(writeCpio(entries.toReversed())).toEqual(writeCpio(entries))
})

test("two entries of one name are an error", () => {
  expect(() => writeCpio([...entries, { path: "bin", type: "directory" }])).toThrow("two entries named bin")
})
