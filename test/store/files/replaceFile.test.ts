import { expect, test } from "bun:test"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { removeAbandoned, replaceFile } from "../../../src/store/files/replaceFile.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

test("a process that has ended, but that nobody has waited for, writes nothing any more", async () => {
  // The shell's child ends; the program that the shell becomes does not wait for it.
  const parent = Bun.spawn(["sh", "-c", "sleep 0 & echo $!; exec sleep 60"], { stdout: "pipe" })
  try {
    const { value } = await parent.stdout.getReader().read()
    const pid = Number(new TextDecoder().decode(value))
    const state = () => readFileSync(`/proc/${pid}/stat`, "utf8").split(" ")[2]
    for (let tries = 0; state() !== "Z" && tries < 500; tries++) await Bun.sleep(10)
    expect(state()).toBe("Z")
    const unfinished = (maker: number) => writeFileSync(join(directory.path, `.modules.json.${maker}.tmp`), "")
    for (const maker of [pid, parent.pid]) unfinished(maker)
    removeAbandoned(directory.path)
    expect(readdirSync(directory.path)).toEqual([`.modules.json.${parent.pid}.tmp`])
  } finally {
    parent.kill("SIGKILL")
    await parent.exited
  }
})

test("what a killed process left of a replacement goes; what a living one is writing stays", () => {
  const { pid } = Bun.spawnSync(["true"])
  const write = (name: string) => writeFileSync(join(directory.path, name), "")
  for (const name of [`.a.json.${pid}.tmp`, `.a.json.${process.pid}.tmp`, ".a.json.x.tmp", `a.json.${pid}.tmp`])
    write(name)
  replaceFile(join(directory.path, "b.json"), "b")
  removeAbandoned(directory.path)
  expect(readdirSync(directory.path).sort()).toEqual([
    `.a.json.${process.pid}.tmp`,
    ".a.json.x.tmp",
    `a.json.${pid}.tmp`,
    "b.json",
  ])
})
