import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { cutPower, eachOnHost, GIVEN, must, put, run, until } from "./support/host.ts"

eachOnHost()

/** A plugin that docs/disks.md shows, with a guest that says what its disk begins with, and writes there. */
function shown(name: string, script: string): string {
  const text = readFileSync(join(import.meta.dir, "../../docs/disks.md"), "utf8")
  const blocks = [...text.matchAll(/^```typescript\n(.*?)^```$/gms)].map(([, code = ""]) => code)
  const code = blocks.find((block) => block.includes(`name: "${name}"`)) ?? ""
  expect(code).toContain("ctx.keep(")
  const job = JSON.stringify(`#!/bin/sh\n${script}\n`)
  return code
    .replace('"vmlinuz"', `"${GIVEN}/dist/guest/vmlinuz"`)
    .replace('"initrd.img"', `"${GIVEN}/dist/guest/initrd.img"`)
    .replace(`name: "${name}"`, `name: "kept", bootArgs: "${BOOT_ARGS}"`)
    .replace(
      /async preBoot\(ctx\) \{/,
      `postStop: (ctx) => ctx.log.info("kept: " + ctx.kept.map(({ what }) => what).join(", ")),
  async preBoot(ctx) {
    ctx.drives.add({ id: "job", path: await ctx.stage.write("job.sh", ${job}), readonly: true })`,
    )
}

const BOOT_ARGS = "console=ttyS0 reboot=k panic=1 loglevel=3 cryptomgr.notests pci=off"
const SCRIPT = "head -c 4 /dev/vdb; echo; printf guest > /dev/vdb; sync; head -c 5 /dev/vdb; echo; echo done"
const WAITS = `${SCRIPT}; sleep 1000`

async function withImages(work: () => Promise<void>): Promise<void> {
  await must(
    "mkdir -p /srv; printf base > /srv/base.img; truncate -s 16M /srv/base.img; truncate -s 8M /srv/changes.img; sync",
  )
  try {
    await work()
  } finally {
    await run("banger rm --force --all; rm -f /srv/base.img /srv/changes.img /root/kept.ts /srv/disk.qcow2")
  }
}

async function withGroup(work: () => Promise<void>): Promise<void> {
  await must(`truncate -s 128M /root/group.img && losetup --find --show /root/group.img > /root/group.loop
    pvcreate -q $(cat /root/group.loop) && vgcreate -q vg $(cat /root/group.loop)
    lvcreate -q --yes --name base --size 16M vg && printf base > /dev/vg/base && sync`)
  try {
    await work()
  } finally {
    await run("banger rm --force --all; vgremove --force --yes vg; losetup --detach $(cat /root/group.loop)")
    await run("udevadm settle; rm -f /root/group.*; rm -f /root/kept.ts")
  }
}

/** What a VM of this host's has of the kinds that are tried here. */
const HELD = "dmsetup ls; losetup --list --noheadings --output BACK-FILE; cat /sys/block/nbd0/pid 2> /dev/null || true"

async function expectRun(): Promise<void> {
  const { stdout, stderr, exit } = await run("banger run /root/kept.ts", { timeoutMs: 100_000 })
  expect({ stdout, stderr }).toEqual({
    stdout: expect.stringMatching(/^base\r?\nguest\r?\ndone/m),
    stderr: expect.stringContaining("kept: "),
  })
  expect({ stderr, exit }).toMatchObject({ exit: 0 })
}

/** Runs it in the background until its guest is done, and kills its banger and its VMM. */
async function expectSwept(before: string): Promise<void> {
  await must("banger run --detach /root/kept.ts", { timeoutMs: 100_000 })
  await until("banger logs kept | grep -q done", 60_000)
  expect(await must(HELD)).not.toBe(before)
  await must(
    `banger ps --json | tr ',{}' '\\n' | sed -n 's/.*"\\(pid\\|supervisor\\)": *\\([0-9]*\\).*/\\2/p' | xargs kill -9`,
  )
  await until("banger ps --json | grep -q dead", 30_000)
  // As if it had been edited since.
  await must("echo // >> /root/kept.ts")
  const { stderr, exit } = await run("banger sweep --grace 0s")
  expect({ stderr, exit }).toMatchObject({ exit: 0 })
  expect(stderr).toContain("what its plugin keeps for it is given back without the plugin")
  expect(await must(HELD)).toBe(before)
}

test("a snapshot by the device mapper on two loop devices is a drive, and goes with its VM, or by a sweep", async () => {
  await withImages(async () => {
    await put("/root/kept.ts", shown("mapped", SCRIPT))
    const before = await must(HELD)
    await expectRun()
    expect(await must(HELD)).toBe(before)
    expect(await must("head -c 5 /srv/base.img | tr -d '\\0'")).toBe("base")
    // Without what the run before has written.
    await must("truncate -s 0 /srv/changes.img; truncate -s 8M /srv/changes.img")
    await put("/root/kept.ts", shown("mapped", WAITS))
    await expectSwept(before)
  })
}, 300_000)

test("a device of the same name and another uuid is not touched, nor taken", async () => {
  await withImages(async () => {
    await put("/root/kept.ts", shown("mapped", WAITS))
    await must("banger run --detach /root/kept.ts", { timeoutMs: 100_000 })
    await must(
      `banger ps --json | tr ',{}' '\\n' | sed -n 's/.*"\\(pid\\|supervisor\\)": *\\([0-9]*\\).*/\\2/p' | xargs kill -9`,
    )
    await until("banger ps --json | grep -q dead", 30_000)
    await until("dmsetup remove base-snapshot", 30_000)
    try {
      await must("dmsetup create base-snapshot --uuid somebodys --table '0 8 zero'")
      expect(await run("banger sweep --grace 0s")).toMatchObject({ exit: 0 })
      expect(await must("dmsetup info --columns --noheadings -o uuid base-snapshot")).toBe("somebodys\n")
      expect(await must("losetup --list --noheadings --output BACK-FILE")).toBe("")
      const refused = await run("banger run /root/kept.ts")
      expect(refused).toMatchObject({ exit: 1 })
      expect(refused.stderr).toContain("there is a device base-snapshot already")
      expect(await must("dmsetup info --columns --noheadings -o uuid base-snapshot")).toBe("somebodys\n")
    } finally {
      await until("dmsetup remove base-snapshot", 30_000)
    }
  })
}, 300_000)

test("LVM's snapshot of a volume goes with its VM, or by a sweep; after a power cut too", async () => {
  await withGroup(async () => {
    await put("/root/kept.ts", shown("lvm", SCRIPT))
    const before = await must(HELD)
    await expectRun()
    expect(await must(HELD)).toBe(before)
    expect(await must("head -c 4 /dev/vg/base")).toBe("base")
    await put("/root/kept.ts", shown("lvm", WAITS))
    await expectSwept(before)
    // A volume of its name, made by somebody else.
    await must("banger run --detach /root/kept.ts", { timeoutMs: 100_000 })
    await must("lvs --noheadings -o lv_tags vg | grep -q banger-kept-")
    await must("sync")
    await cutPower()
    await must("losetup $(cat /root/group.loop) /root/group.img; udevadm settle; vgchange -q -ay vg")
    expect(await must("lvs --noheadings -o lv_name vg | wc -l")).toBe("2\n")
    expect(await run("banger sweep --grace 0s")).toMatchObject({ exit: 0 })
    expect((await must("lvs --noheadings -o lv_name vg")).trim()).toBe("base")
  })
}, 400_000)

test("an nbd device that a plugin's own programs know and give back goes with its VM, or by a sweep", async () => {
  await must("modprobe nbd")
  await withImages(async () => {
    await must("qemu-img convert -O qcow2 /srv/base.img /srv/disk.qcow2")
    await put("/root/kept.ts", shown("nbd", SCRIPT))
    const before = await must(HELD)
    await expectRun()
    expect(await must(HELD)).toBe(before)
    await must("qemu-img convert -O qcow2 /srv/base.img /srv/disk.qcow2")
    await put("/root/kept.ts", shown("nbd", WAITS))
    await expectSwept(before)
  })
}, 300_000)

test("what qemu-img makes is what a guest sees, in each manner of it", async () => {
  await must("head -c 3M /dev/urandom > /srv/base.img; truncate -s 9M /srv/base.img; printf end >> /srv/base.img")
  await must("truncate -s %4096 /srv/base.img")
  try {
    const sum = await must("sha256sum < /srv/base.img")
    const manners = [
      "",
      "-c",
      "-c -o compression_type=zstd",
      "-o extended_l2=on",
      "-o cluster_size=512",
      "-o compat=0.10",
    ]
    for (const manner of manners) {
      await must(`qemu-img convert -O qcow2 ${manner} /srv/base.img /srv/disk.qcow2`)
      await put(
        "/root/kept.ts",
        `import { definePlugin } from "banger"
export default definePlugin({ kernel: "/vmlinuz", drives: [{ persist: "made", path: "/srv/disk.qcow2", format: "qcow2" }],
  preBoot() { throw new Error("made") } })`,
      )
      expect((await run("banger run /root/kept.ts")).stderr).toContain("made")
      expect(await must("banger disk export made - | sha256sum"), manner).toBe(sum)
      await must("banger disk rm made")
    }
  } finally {
    await run("banger disk rm made; rm -f /srv/base.img /srv/disk.qcow2 /root/kept.ts")
  }
}, 200_000)
