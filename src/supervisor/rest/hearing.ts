import { receive } from "../../base/linux/sockets.ts"
import { lineCutter } from "../../base/terms/lines.ts"
import { announcedBy } from "../../host/qemu/announced.ts"

/** What QEMU tells meanwhile: the reason of its end alone matters. */
export interface Heard {
  /** The descriptor, until nothing more can come. */
  fd: number | undefined
  announced: string | undefined
  /** Takes what there is, so that QEMU never waits for a reader; from one that never ends, no more than it could have said before. */
  take(): void
}

/** Hears what QEMU tells to a descriptor. `read` is for tests. */
export function hearing(fd: number, read: typeof receive = receive): Heard {
  const buffer = new Uint8Array(READ_BYTES)
  const cutter = lineCutter()
  return {
    fd,
    announced: undefined,
    take() {
      for (let reads = 0; reads < READS_MAX_COUNT && this.fd !== undefined; reads++) {
        const count = read(this.fd, buffer)
        if (count === undefined) return
        for (const line of cutter.cut(buffer.subarray(0, count))) this.announced ??= announcedBy(line)
        if (count === 0 || cutter.restLength > LINE_MAX_COUNT) this.fd = undefined
      }
    },
  }
}

// --- internal ---

/** A line of QEMU's never has more characters than this: what sends one is not believed. */
const LINE_MAX_COUNT = 1024 * 1024

/** More than a socket holds: what a VMM says on and on keeps nobody from being heard. */
const READS_MAX_COUNT = 64
const READ_BYTES = 16 * 1024
