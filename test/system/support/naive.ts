import { spawnSync } from "node:child_process"
import { chmodSync, chownSync, lstatSync, readdirSync, rmdirSync, unlinkSync } from "node:fs"
import { join } from "node:path"
import { statAt } from "../../../src/base/linux/files.ts"
import { unmountAt } from "../../../src/base/linux/mounts.ts"

// How it is done where it is done wrong: a path is checked, then used. Each race test shows that its attacker catches these.

/** Looks that it is a socket, then changes owner and mode by path. */
export function naiveSocketAccess(path: string, uid: number, gid: number, mode: number): void {
  if (!lstatSync(path).isSocket()) throw new Error("not a socket")
  chownSync(path, uid, gid)
  chmodSync(path, mode)
}

/** Looks that it is a device node, then changes its owner by path. */
export function naiveNodeAccess(path: string, uid: number, gid: number): void {
  if (!lstatSync(path).isCharacterDevice()) throw new Error("not a device")
  chownSync(path, uid, gid)
}

/** Looks that it is the mount that is meant, then takes off what is mounted there. */
export function naiveUnmount(parent: number, name: string, id: string): void {
  if (String(statAt(parent, name).mountId) !== id) throw new Error("something else is mounted there")
  // As long as a busy host may keep it from going on.
  for (const until = performance.now() + 0.2; performance.now() < until; );
  unmountAt(parent, name)
}

/** Looks what each name is, then goes into directories and unlinks the rest by path. */
export function naiveRemove(path: string): void {
  for (const name of readdirSync(path)) {
    const entry = join(path, name)
    try {
      if (lstatSync(entry).isDirectory()) naiveRemove(entry)
      else unlinkSync(entry)
    } catch {
      // As `rm -rf` goes on after each failure.
    }
  }
  rmdirSync(path)
}

/** Looks that the target is a directory, then mounts on it by path. */
export function naiveBind(source: string, target: string): void {
  if (!lstatSync(target).isDirectory()) throw new Error("not a directory")
  spawnSync("mount", ["--bind", source, target])
}
