import { statSync } from "node:fs"
import { basename, isAbsolute, join, resolve } from "node:path"
import { run } from "./run.ts"

/** A file of the host that goes into the root filesystem. */
export type RootfsFile = { from: string; to: string }

type Contents = { busybox: string; applets: readonly string[]; files: readonly RootfsFile[] }

const own = import.meta.dirname
const uuid = "62616e67-6572-4000-8000-726f6f746673"
const directories = ["bin", "dev", "etc", "etc/init.d", "mnt", "newroot", "proc", "root", "run", "sys", "tmp", "usr"]
// Both tools write this time into the inodes that they make; 0 would mean "now".
const longAgo = { E2FSPROGS_FAKE_TIME: "1", SOURCE_DATE_EPOCH: "1" }

/** `app.sh` goes to /root/app.sh, `app.sh:/bin/app` goes to /bin/app. */
export function parseFile(argument: string): RootfsFile {
  const [from = "", to = `/root/${basename(from)}`] = argument.split(":")
  if (!isAbsolute(to))
    throw new Error(`${argument}: the path in the guest must start with /, as in ${from}:/bin/${basename(from)}`)
  return { from: resolve(from), to }
}

/**
 * Fills the filesystem with debugfs, so that two runs make the same bytes: `mkfs.ext4 -d` would copy the entry order and the
 * change times of a host directory.
 */
export function makeRootfs(image: string, size: string, contents: Contents): void {
  if (!/^\d+[KMG]$/.test(size)) throw new Error(`--rootfs ${size}: give a size like 64M or 1G`)
  const options = `hash_seed=${uuid},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard`
  run(["truncate", "--size", "0", image])
  run(["mkfs.ext4", "-q", "-F", "-U", uuid, "-L", "banger", "-E", options, image, size], { env: longAgo })
  const script = Buffer.from(fill(contents).join("\n"))
  const debugfs = Bun.spawnSync(["debugfs", "-w", "-f", "-", image], {
    env: { ...process.env, ...longAgo },
    stdin: script,
    stderr: "pipe",
  })
  // debugfs exits 0 even when it fails. Its standard error begins with its version; all that follows is failures.
  const failures = debugfs.stderr.toString().trim().split("\n").slice(1)
  if (failures.length > 0) throw new Error(`debugfs could not fill ${image}: ${failures.join("; ")}`)
}

// --- internal ---

function fill({ busybox, applets, files }: Contents): string[] {
  return [
    ...directories.map((path) => `mkdir /${path}`),
    ...["/sbin", "/usr/bin", "/usr/sbin"].map((path) => `symlink ${path} /bin`),
    ...addFile({ from: busybox, to: "/bin/busybox" }),
    ...applets.map((applet) => `symlink /bin/${applet} busybox`),
    ...addFile({ from: join(own, "rootfs-inittab"), to: "/etc/inittab" }),
    ...addFile({ from: join(own, "rootfs-start"), to: "/etc/init.d/rcS" }),
    ...files.flatMap(addFile),
  ]
}

function addFile({ from, to }: RootfsFile): string[] {
  const mode = statSync(from).mode & 0o111 ? "0100755" : "0100644"
  return [
    `write "${from}" "${to}"`,
    `set_inode_field "${to}" mode ${mode}`,
    ...["uid", "gid"].map((owner) => `set_inode_field "${to}" ${owner} 0`),
  ]
}
