import { cpSync, mkdirSync } from "node:fs"
import { basename, dirname, join } from "node:path"

/**
 * Makes a disk in `dir` with a program compiled from a TypeScript file, under that file's name, the libraries it needs, and
 * other programs beside it; returns the disk's path.
 */
export function makeGuestDisk(dir: string, source: string, beside: readonly string[] = []): string {
  const root = join(dir, "root")
  for (const name of ["proc", "sys", "dev", "tmp"]) mkdirSync(join(root, name), { recursive: true })
  const program = join(root, basename(source, ".ts"))
  run([process.execPath, "build", "--compile", source, "--outfile", program])
  for (const library of librariesOf(program)) {
    mkdirSync(join(root, dirname(library)), { recursive: true })
    cpSync(library, join(root, library), { dereference: true })
  }
  for (const path of beside) cpSync(path, join(root, basename(path)))
  const disk = join(dir, "disk.img")
  run(["mkfs.ext4", "-q", "-d", root, disk, "250M"])
  return disk
}

/** What a guest has to run so that a command of that disk runs in it. */
export function guestScript(command: string): string {
  return [
    "mkdir /mnt && mount -t ext4 /dev/vda /mnt && cd /mnt",
    "mount -t proc proc proc && mount -t sysfs sys sys && mount -t devtmpfs dev dev",
    `mount -t cgroup2 none sys/fs/cgroup && chroot /mnt ${command}`,
  ].join(" && ")
}

// --- internal ---

/** The shared libraries a program needs, and its loader, as the loader itself tells. */
function librariesOf(program: string): readonly string[] {
  const listed = Bun.spawnSync(["ldd", program]).stdout.toString()
  const found = [...listed.matchAll(/(\/\S+) \(0x/g)].map(([, path = ""]) => path)
  if (found.length < 3) throw new Error(`ldd ${program} says: ${listed}`)
  return found
}

function run(argv: readonly string[]): void {
  const { exitCode, stderr } = Bun.spawnSync([...argv], { stderr: "pipe" })
  if (exitCode !== 0) throw new Error(`${argv.join(" ")}: ${stderr.toString()}`)
}
