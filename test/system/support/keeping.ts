import { afterEach, expect } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { O } from "../../../src/base/linux/constants.ts"
import { close, openAt } from "../../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../../src/base/linux/guards.ts"
import { attachLoop, freeLoop } from "../../../src/base/linux/loops.ts"
import { fixture } from "./banger.ts"
import { kernelOf } from "./doubles.ts"
import type { Place } from "./place.ts"

const MIB_BYTES = 1024 * 1024

/** The loop devices whose file is of a place, and their files: the devices are the host's, in whichever namespace a test is. */
export function loopsOf({ dir }: Pick<Place, "dir">): readonly { readonly device: string; readonly file: string }[] {
  const { stdout } = Bun.spawnSync(["losetup", "--list", "--noheadings", "--raw", "--output", "NAME,BACK-FILE"])
  return stdout
    .toString()
    .split("\n")
    .map((line) => line.split(" "))
    .flatMap(([device = "", file = ""]) => (file.startsWith(`${dir}/`) ? [{ device, file }] : []))
}

/** Asserts after each test of a file that no loop device of its place is left. Call it outside of them. */
export function loopsGo(place: Place): void {
  afterEach(() => {
    const left = loopsOf(place)
    for (const { device } of left) Bun.spawnSync(["losetup", "--detach", device])
    expect(left).toEqual([])
  })
}

/** A file of a MiB, full of the first letter of its name. */
export function madeImage({ dir }: Pick<Place, "dir">, name = "image"): string {
  const path = join(dir, name)
  writeFileSync(path, Buffer.alloc(MIB_BYTES, name[0]))
  return path
}

/** A thing that is a file of the place: the plugin makes it, and `rm` gives it back. Each release notes its name in `released`. */
export function commandThing({ dir }: Pick<Place, "dir">, name: string, more: object = {}) {
  const file = join(dir, name)
  return {
    kind: "command",
    what: name,
    still: ["/usr/bin/test", "-e", file],
    release: ["/bin/sh", "-c", `echo ${name} >> ${dir}/released; rm ${file}`],
    ...more,
  }
}

/** The words that run a VM that keeps things from preBoot on, and from postBoot on (`later`). */
export function keepingWords(
  place: Pick<Place, "dir" | "spec">,
  things: readonly object[],
  {
    flags = ["--detach"],
    later = [],
    script = "PRINT[up]",
    fields = {},
  }: { flags?: readonly string[]; later?: readonly object[]; script?: string; fields?: object } = {},
): readonly string[] {
  const kernel = kernelOf(place.dir, script, "vmlinux-keeping")
  const args = [
    place.dir,
    kernel,
    JSON.stringify({ ...place.spec, ...fields }),
    JSON.stringify(things),
    JSON.stringify(later),
  ]
  return ["run", ...flags, fixture("keeping"), "--", ...args]
}

/** Attaches a file to a loop device as somebody else would; returns the device. */
export function attachAs(path: string, label: string): string {
  const device = `/dev/loop${freeLoop()}`
  const [file, loop] = [openAt(AT_FDCWD, path, O.RDWR), openAt(AT_FDCWD, device, O.RDWR)]
  attachLoop(loop, { file, label, readonly: false, offset: 0, sizeLimit: 0 })
  for (const fd of [file, loop]) close(fd)
  return device
}
