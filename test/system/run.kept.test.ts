import { expect, test } from "bun:test"
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { cpus } from "node:os"
import { join } from "node:path"
import { O } from "../../src/base/linux/constants.ts"
import { close, openAt, withDescriptor } from "../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../src/base/linux/guards.ts"
import { mountNamespaceId } from "../../src/base/linux/namespaces.ts"
import { findMount, type KeptMount } from "../../src/host/kept/mount.ts"
import { banger, type Ended, start, until } from "./support/banger.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { attachAs, commandThing as command, keepingWords, loopsGo, loopsOf, madeImage } from "./support/keeping.ts"
import { eachInItsPlace, mountedIn, records } from "./support/place.ts"
import { killed, listed, sql } from "./support/vms.ts"
import { must } from "./support/wire.ts"

// What a plugin keeps for its VM, on real loop devices: these are the host's, whichever namespace a test is in.

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()
loopsGo(place)

function run(things: readonly object[], how: Parameters<typeof keepingWords>[2] = {}): Promise<Ended> {
  return banger(place, keepingWords(place, things, how), { ...firecracker.env })
}

const loops = () => loopsOf(place)
const image = (name?: string) => madeImage(place, name)

const released = () =>
  existsSync(join(place.dir, "released"))
    ? readFileSync(join(place.dir, "released"), "utf8").split("\n").slice(0, -1)
    : []
const journal = async (id: string) => JSON.parse((await banger(place, ["inspect", id])).stdout).journal.journal
const keptIn = async (id: string) => (await journal(id)).filter(({ kind }: { kind: string }) => kind === "kept")

/** Ends a VM as a crash of its host's banger and its VMM does. */
async function crash(): Promise<string> {
  const [vm] = await listed(place)
  await killed(vm?.supervisor)
  await killed(vm?.pid)
  return vm?.id ?? ""
}

onBoth("a loop device is a drive, and goes after the VM; inspect shows it, and postStop is told", async () => {
  const file = image()
  expect(await run([{ kind: "loop", file }])).toMatchObject({ exit: 0 })
  const [loop] = loops()
  expect(loop?.file).toBe(file)
  const [vm] = await listed(place)
  const entry = { kind: "kept", number: 1, thing: { kind: "loop", file, label: `banger-${vm?.id}-1` } }
  const all = await journal(vm?.id ?? "")
  expect(all).toContainEqual(expect.objectContaining({ ...entry, thing: expect.objectContaining(entry.thing) }))
  // It goes once the VMM has.
  const kinds = all.map(({ kind }: { kind: string }) => kind)
  expect(kinds.indexOf("kept")).toBeLessThan(kinds.indexOf("process"))
  const node = statSync(join(place.state, "jail/firecracker", vm?.id ?? "", "root/disk0"))
  expect(node.rdev).toBe(statSync(loop?.device ?? "").rdev)
  expect(await banger(place, ["stop", vm?.id ?? ""])).toMatchObject({ exit: 0 })
  const [told] = readFileSync(join(place.dir, "kept"), "utf8").split("\n")
  expect(JSON.parse(told ?? "")).toEqual([
    { kind: "loop", number: 1, what: `${loop?.device} of ${file}`, path: loop?.device },
  ])
  expect(loops()).toEqual([])
})

onBoth("things go in reverse, those of postBoot first; and after a crash by a sweep, without the plugin", async () => {
  const things = [command(place, "one"), { kind: "loop", file: image(), readonly: true }, command(place, "two")]
  const later = [command(place, "three")]
  expect(await run(things, { later })).toMatchObject({ exit: 0 })
  const id = await crash()
  expect(loops()).toHaveLength(1)
  // As if the plugin had been edited since.
  sql(place, "update vms set plugin_sha256 = 'other'")
  const swept = await banger(place, ["sweep", "--grace", "0s"])
  expect(swept).toMatchObject({ exit: 0 })
  expect(swept.stderr).toContain("its hooks are not run")
  expect(swept.stderr).toMatch(
    /what its plugin keeps for it is given back without the plugin: one, \/dev\/loop\d+ of .*image, two, three/,
  )
  expect(released()).toEqual(["three", "two", "one"])
  expect(await keptIn(id)).toEqual([])
})

onBoth("what postStop has given back itself is gone, and fine", async () => {
  const things = [command(place, "one"), { kind: "loop", file: image() }]
  expect(await run(things)).toMatchObject({ exit: 0 })
  const [loop] = loops()
  const undo = `Bun.spawnSync(["losetup", "--detach", "${loop?.device}"]); Bun.spawnSync(["rm", "${place.dir}/one"])`
  writeFileSync(join(place.dir, "undo.ts"), undo)
  const [vm] = await listed(place)
  expect(await banger(place, ["stop", vm?.id ?? ""])).toMatchObject({
    exit: 0,
    stderr: expect.not.stringContaining("not released"),
  })
  expect(released()).toEqual([])
})

onBoth("a loop device that has been given another file meanwhile is not touched", async () => {
  expect(await run([{ kind: "loop", file: image() }])).toMatchObject({ exit: 0 })
  const [loop] = loops()
  await crash()
  Bun.spawnSync(["losetup", "--detach", loop?.device ?? ""])
  const other = image("other")
  // The same device, by whoever comes first: a file of another VM's, and the very file by another hand.
  for (const file of [other, join(place.dir, "image")]) {
    expect(Bun.spawnSync(["losetup", loop?.device ?? "", file]).exitCode).toBe(0)
    expect(loops()).toEqual([{ device: loop?.device ?? "", file }])
    if (file === other) expect(await banger(place, ["sweep", "--grace", "0s"])).toMatchObject({ exit: 0 })
    expect(loops()).toEqual([{ device: loop?.device ?? "", file }])
    expect(Bun.spawnSync(["losetup", "--detach", loop?.device ?? ""]).exitCode).toBe(0)
  }
})

onBoth("one whose device was never written down is found by its label, and only that", async () => {
  const [file, other] = [image(), image("other")]
  expect(await run([{ kind: "loop", file }])).toMatchObject({ exit: 0 })
  const id = await crash()
  const mine = attachAs(other, "banger-somebody-1")
  const same = attachAs(file, "banger-somebody-1")
  const path = join(place.state, "vms", id, "handles.json")
  const handles = JSON.parse(readFileSync(path, "utf8"))
  for (const entry of handles.journal) if (entry.kind === "kept") entry.thing.device = null
  handles.generation += 1
  handles.sha256 = new Bun.CryptoHasher("sha256").update(JSON.stringify(handles.journal)).digest("hex")
  writeFileSync(path, JSON.stringify(handles))
  expect(await banger(place, ["sweep", "--grace", "0s"])).toMatchObject({ exit: 0 })
  expect(
    loops()
      .map(({ device }) => device)
      .toSorted(),
  ).toEqual([mine, same].toSorted())
  for (const device of [mine, same]) Bun.spawnSync(["losetup", "--detach", device])
})

onBoth("a device in use stays on the journal, with those it may be made of; rm proves it gone later", async () => {
  expect(await run([command(place, "one"), { kind: "loop", file: image() }])).toMatchObject({ exit: 0 })
  const [loop] = loops()
  const held = openAt(AT_FDCWD, loop?.device ?? "", O.RDONLY)
  const [vm] = await listed(place)
  try {
    const stopped = await banger(place, ["stop", vm?.id ?? ""])
    expect(stopped.exit).toBe(1)
    expect(stopped.stderr).toContain(`${loop?.device} of ${place.dir}/image is still there`)
    expect((await keptIn(vm?.id ?? "")).map(({ number }: { number: number }) => number)).toEqual([1, 2])
    expect(await banger(place, ["rm", vm?.id ?? ""])).toMatchObject({ exit: 1 })
  } finally {
    close(held)
  }
  expect(released()).toEqual([])
  expect(await banger(place, ["rm", vm?.id ?? ""])).toMatchObject({ exit: 0 })
  expect(released()).toEqual(["one"])
})

onBoth(
  "`still` that hangs, dies or says anything but 0 and 1 is no proof: nothing is released",
  async () => {
    const still = ["/bin/sh", "-c", `. ${place.dir}/answer`]
    expect(await run([command(place, "one", { still })])).toMatchObject({ exit: 0 })
    const [vm] = await listed(place)
    const id = vm?.id ?? ""
    const answer = (text: string) => writeFileSync(join(place.dir, "answer"), text)
    answer("exit 7")
    expect((await banger(place, ["stop", id])).stderr).toContain("it cannot be told whether one is still there")
    for (const [text, words] of [
      ["kill -9 $$", "was killed"],
      ["echo why; exit 2", "ended with 2: why"],
      ["sleep 1000", "did not end in 10s"],
    ] as const) {
      answer(text)
      expect(await banger(place, ["rm", id])).toMatchObject({ exit: 1, stderr: expect.stringContaining(words) })
      expect(records(place)).toHaveLength(1)
    }
    expect(released()).toEqual([])
    answer(`[ -e ${place.dir}/one ]`)
    expect(await banger(place, ["sweep", "--grace", "0s"])).toMatchObject({ exit: 0 })
    expect(released()).toEqual(["one"])
  },
  60_000,
)

onBoth("`release` runs once at a time, and is believed only once the thing is gone", async () => {
  const release = ["/bin/sh", "-c", `echo one >> ${place.dir}/released; echo no room; exit 1`]
  expect(await run([command(place, "one", { release })])).toMatchObject({ exit: 0 })
  const [vm] = await listed(place)
  expect(await banger(place, ["stop", vm?.id ?? ""])).toMatchObject({ exit: 1 })
  // Before the jail went, and after; `stop` may try again.
  const tries = released().length
  expect(tries).toBeGreaterThan(1)
  const { exit, stderr } = await banger(place, ["rm", vm?.id ?? ""])
  expect(exit).toBe(1)
  expect(stderr).toContain("one is still there: /bin/sh -c")
  expect(stderr).toContain("ended with 1: no room")
  expect(released()).toHaveLength(tries + 1)
  Bun.spawnSync(["rm", join(place.dir, "one")])
  expect(await banger(place, ["rm", vm?.id ?? ""])).toMatchObject({ exit: 0 })
})

onBoth("two VMs have a loop device each of one image, and each goes with its own", async () => {
  const file = image()
  for (const name of ["a", "b"])
    expect(await run([{ kind: "loop", file, readonly: true }], { flags: ["--detach", "--name", name] })).toMatchObject({
      exit: 0,
    })
  const before = loops()
  expect(before).toHaveLength(2)
  const [last, first] = await listed(place)
  expect(await banger(place, ["stop", first?.id ?? ""])).toMatchObject({ exit: 0 })
  expect(loops()).toHaveLength(1)
  expect(await banger(place, ["stop", last?.id ?? ""])).toMatchObject({ exit: 0 })
})

onBoth("a mount goes after the VM, and only that one: what is mounted on it or in its place stays", async () => {
  const target = join(place.dir, "place")
  mkdirSync(target)
  const fstype = () =>
    Bun.spawnSync(["findmnt", "--noheadings", "--output", "FSTYPE,OPTIONS", "--mountpoint", target]).stdout.toString()
  const thing = { kind: "mount", target, source: "none", type: "tmpfs", options: ["size=1M"] }
  expect(await run([thing])).toMatchObject({ exit: 0 })
  expect(fstype()).toMatch(/^tmpfs .*nosuid,nodev/)
  expect(fstype()).toContain("size=1024k")
  const [vm] = await listed(place)
  expect(await banger(place, ["stop", vm?.id ?? ""])).toMatchObject({ exit: 0 })
  expect(fstype()).toBe("")
  // In use, then covered, then another in its place.
  const options = ["size=1M"]
  expect(await run([{ ...thing, options, readonly: true }])).toMatchObject({ exit: 0 })
  expect(fstype()).toMatch(/^tmpfs +ro/)
  const id = await crash()
  must("mount", "-t", "ramfs", "none", target)
  const covered = await banger(place, ["rm", id])
  expect(covered).toMatchObject({ exit: 1, stderr: expect.stringContaining(`something else is mounted on ${target}`) })
  expect(fstype()).toContain("ramfs")
  must("umount", target)
  const held = openAt(AT_FDCWD, target, O.RDONLY)
  const busy = await banger(place, ["rm", id])
  expect(busy).toMatchObject({
    exit: 1,
    stderr: expect.stringMatching(/the mount on .* is still there: umount2 .*EBUSY/),
  })
  close(held)
  must("umount", target)
  must("mount", "-t", "tmpfs", "none", target)
  expect(await banger(place, ["rm", id])).toMatchObject({ exit: 0 })
  expect(fstype()).toContain("tmpfs")
  must("umount", target)
})

onBoth("an image on a loop device is mounted, and all of it goes in reverse; so is a directory", async () => {
  const [file, from] = [join(place.dir, "fs.img"), join(place.dir, "from")]
  writeFileSync(file, "")
  truncateSync(file, 16 * 1024 * 1024)
  mkdirSync(from)
  writeFileSync(join(from, "disk"), Buffer.alloc(4096), { mode: 0o644 })
  must("mkfs.ext4", "-q", "-F", "-d", from, file)
  const [target, seen] = [join(place.dir, "place"), join(place.dir, "seen")]
  for (const dir of [target, seen]) mkdirSync(dir)
  const things = [
    { kind: "loop", file },
    // The jail binds a file on it: the device cannot go before the jail has.
    { kind: "mount", target, source: "@", type: "ext4" },
    { kind: "mount", target: seen, source: target, readonly: true },
  ]
  const mounted = () => mountedIn(place).filter((path) => !path.includes("/state/"))
  for (const end of ["stop", "crash"]) {
    expect(await run(things)).toMatchObject({ exit: 0 })
    expect(mounted()).toEqual([target, seen])
    expect(mountedIn(place).some((path) => path.endsWith("/root/disk1"))).toBe(true)
    const [vm] = await listed(place)
    const words = end === "stop" ? ["stop", vm?.id ?? ""] : ["rm", await crash()]
    expect(await banger(place, words)).toMatchObject({ exit: 0 })
    expect(mounted()).toEqual([])
    expect(loops()).toEqual([])
  }
})

onBoth("a hook that holds the thread keeps nothing: the thread that watches it gives all back", async () => {
  const stuck = { later: [command(place, "stuck")], fields: { timeouts: { postBoot: "200ms" } }, flags: [] }
  const { exit, stderr } = await run([command(place, "one"), { kind: "loop", file: image() }], stuck)
  expect({ exit, stderr }).toMatchObject({ exit: 124, stderr: expect.stringContaining("was killed and cleaned up") })
  expect(released()).toEqual(["stuck", "one"])
  expect(loops()).toEqual([])
})

/**
 * What runs a program in a mount namespace that can be mounted in this one. That takes a greater number, so that none can hold itself,
 * and newer kernels (seen: 6.18) give each processor numbers of its own.
 */
async function newerNamespace(): Promise<readonly string[]> {
  const numberOf = (pid: number | "self") =>
    withDescriptor(openAt(AT_FDCWD, `/proc/${pid}/ns/mnt`, O.RDONLY), mountNamespaceId)
  const [own, ownLink] = [numberOf("self"), readlinkSync("/proc/self/ns/mnt")]
  for (let processor = 0; processor < cpus().length; processor++) {
    const through = ["taskset", "--cpu-list", `${processor}`, "unshare", "--mount", "--propagation", "private"]
    const child = Bun.spawn([...through, "sleep", "600"])
    await until(() => readlinkSync(`/proc/${child.pid}/ns/mnt`) !== ownLink)
    const number = numberOf(child.pid)
    child.kill("SIGKILL")
    await child.exited
    if (own === undefined || number === undefined || BigInt(number) > BigInt(own)) return through
  }
  throw new Error("no processor makes a mount namespace that counts as newer than this one")
}

onBoth(
  "what nobody can tell of any more can be given up by a person, and only that; rm gives back the rest",
  async () => {
    const still = join("/run", `still-${place.dir.split("-").at(-1)}`)
    writeFileSync(still, "#!/bin/sh\nexit 0\n", { mode: 0o755 })
    const lost = command(place, "lost", { still: [still] })
    expect(await run([command(place, "one"), lost, command(place, "two")])).toMatchObject({ exit: 0 })
    const [vm] = await listed(place)
    const id = vm?.id ?? ""
    const forget = (...flags: string[]) => banger(place, ["forget", ...flags, id])
    expect(await forget("--yes")).toMatchObject({ exit: 1, stderr: expect.stringContaining("banger stop") })
    rmSync(still)
    const stopped = await banger(place, ["stop", id])
    expect(stopped.exit).toBe(1)
    expect(stopped.stderr).toContain("it cannot be told whether lost is still there")
    expect(stopped.stderr).toContain(`where nobody can tell any more: banger forget ${id}`)
    expect((await banger(place, ["rm", "-f", id])).exit).toBe(1)
    expect(released()).toEqual(["two"])
    const unasked = await forget()
    expect(unasked.exit).toBe(2)
    for (const told of [`banger forget --yes ${id}`, still]) expect(unasked.stderr).toContain(told)
    expect((await keptIn(id)).map(({ thing }: { thing: { what: string } }) => thing.what)).toEqual(["one", "lost"])
    const forgotten = await forget("--yes", "--json")
    expect(JSON.parse(forgotten.stdout)).toMatchObject({
      ...{ id, name: "keeping", removed: false },
      givenUp: [expect.stringMatching(/^what its plugin keeps: lost: .*still-/)],
    })
    expect((await keptIn(id)).map(({ thing }: { thing: { what: string } }) => thing.what)).toEqual(["one"])
    // Neither its program has run, nor has what it keeps gone.
    expect({ released: released(), lost: existsSync(join(place.dir, "lost")) }).toEqual({
      released: ["two"],
      lost: true,
    })
    expect(await forget("--yes")).toMatchObject({ exit: 1, stderr: expect.stringContaining(`banger rm ${id}`) })
    expect(await banger(place, ["rm", id])).toMatchObject({ exit: 0 })
    expect(released()).toEqual(["two", "one"])
    expect(records(place)).toEqual([])
  },
)

onBoth("a mount in another mount namespace cannot be told from here, until that has gone", async () => {
  const target = join(place.dir, "place")
  mkdirSync(target)
  const through = [...(await newerNamespace()), ...place.program]
  const thing = { kind: "mount", target, source: "none", type: "tmpfs" }
  const words = keepingWords(place, [thing])
  expect(await start(place, words, { ...firecracker.env }, { through, self: false }).ended).toMatchObject({ exit: 0 })
  const [vm] = await listed(place)
  const child = Bun.spawn(["nsenter", `--mount=/proc/${vm?.supervisor}/ns/mnt`, "sleep", "600"])
  const space = (pid: unknown) => readlinkSync(`/proc/${pid}/ns/mnt`)
  await until(() => space(child.pid) === space(vm?.supervisor))
  await crash()
  const { exit, stderr } = await banger(place, ["rm", vm?.id ?? ""])
  expect({ exit, stderr }).toEqual({ exit: 1, stderr: expect.stringContaining("it is in another mount namespace") })
  // Another namespace that has got the inode's number is not that one (Linux 6.11); a record without the number cannot tell.
  const [{ thing: kept }] = JSON.parse(records(place)[0]?.handles ?? "") as [{ thing: KeptMount }]
  const [inode, number] = kept.namespace.split(" ")
  for (const namespace of [kept.namespace, inode ?? ""])
    expect(() => findMount({ ...kept, namespace })).toThrow("it is in another mount namespace")
  if (number !== undefined) expect(findMount({ ...kept, namespace: `${inode} 1${number}` })).toBeUndefined()
  // Without a process, a mount of it is enough.
  const [pin, pins] = [join(place.dir, "pins/mnt"), join(place.dir, "pins")]
  mkdirSync(pins)
  Bun.spawnSync(["mount", "--bind", "--make-private", pins, pins])
  writeFileSync(pin, "")
  must("mount", "--bind", `/proc/${child.pid}/ns/mnt`, pin)
  child.kill("SIGKILL")
  await child.exited
  const pinned = await banger(place, ["rm", vm?.id ?? ""])
  expect(pinned).toMatchObject({ exit: 1, stderr: expect.stringContaining("it is in another mount namespace") })
  for (const mounted of [pin, pins]) expect(Bun.spawnSync(["umount", mounted]).exitCode).toBe(0)
  // Whatever namespace has its inode's number by now, as that of another test's: it is not that one.
  expect(await banger(place, ["rm", vm?.id ?? ""])).toMatchObject({ exit: 0 })
})

onBoth("what cannot be made is refused, and what was made before it goes", async () => {
  const good = { kind: "loop", file: image() }
  for (const [thing, text] of [
    [{ kind: "loop", file: join(place.dir, "nothing") }, "there is no file"],
    [{ kind: "loop", file: place.dir }, "is not a regular file"],
    [{ kind: "loop", file: "image" }, "allowed: an absolute path"],
    [{ kind: "loop", file: "/x", offset: 5 }, "allowed: a whole number of bytes, in sectors of 512"],
    [{ kind: "tape" }, 'allowed: "loop", "dm", "lvm", "mount" or "command"'],
    [{ kind: "dm", name: "x", table: ["nonsense"] }, "no line of a device mapper's table"],
    [{ kind: "mount", target: join(place.dir, "nothing"), source: "none", type: "tmpfs" }, "ENOENT"],
    [{ kind: "mount", target: place.dir, source: "none", type: "nofs" }, "ENODEV"],
    [
      { kind: "mount", target: place.dir, source: "none", type: "tmpfs", options: ["size=lots"] },
      "Bad value for 'size'",
    ],
    [{ kind: "lvm", origin: "../x" }, 'allowed: "group/volume"'],
    [{ kind: "command", what: "x", still: ["true"], release: ["/bin/true"] }, "a program's absolute path"],
  ] as const) {
    const { exit, stderr } = await run([good, thing], { flags: [] })
    expect({ exit, stderr }).toEqual({ exit: 1, stderr: expect.stringContaining(text) })
    expect(loops()).toEqual([])
  }
})

test("root runs no program of a journal that others could have put there", async () => {
  const program = join(place.dir, "theirs")
  writeFileSync(program, "#!/bin/sh\nexit 1\n", { mode: 0o755 })
  Bun.spawnSync(["chown", "12345", program])
  expect(await run([command(place, "one", { still: [program] })])).toMatchObject({ exit: 0 })
  const [vm] = await listed(place)
  const { exit, stderr } = await banger(place, ["stop", vm?.id ?? ""])
  expect({ exit, stderr }).toEqual({ exit: 1, stderr: expect.stringContaining("is not run: it belongs to uid 12345") })
  Bun.spawnSync(["chown", "0", program])
  expect(await banger(place, ["rm", vm?.id ?? ""])).toMatchObject({ exit: 0 })
  appendFileSync(join(place.dir, "released"), "")
})
