import { ptr } from "bun:ffi"
import { constants, openSync, readlinkSync } from "node:fs"
import { join } from "node:path"
import { checked, libc } from "../../../src/base/linux/libc.ts"
import type { Place } from "./place.ts"

/** A FIFO that nobody reads: a descriptor to write to it, and to read what is in it. */
export function stalledPipe(place: Place): number {
  const path = join(place.dir, "fifo")
  Bun.spawnSync(["mkfifo", path])
  return openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
}

/** A terminal: what a program gets, and the other end, which nobody reads unless the test does. */
export function openTerminal(): { master: number; slave: number; path: string } {
  const master = openSync("/dev/ptmx", constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK)
  const number = new Uint32Array(1)
  checked("ioctl(TIOCSPTLCK)", () => libc.ioctl(master, TIOCSPTLCK, ptr(number)))
  checked("ioctl(TIOCGPTN)", () => libc.ioctl(master, TIOCGPTN, ptr(number)))
  const path = `/dev/pts/${number[0]}`
  const slave = openSync(path, constants.O_RDWR | constants.O_NOCTTY)
  return { master, slave, path: readlinkSync(`/proc/self/fd/${slave}`) }
}

const TIOCSPTLCK = 0x40045431
const TIOCGPTN = 0x80045430
