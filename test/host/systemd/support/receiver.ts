import { close } from "../../../../src/base/linux/files.ts"
import { checked, libc } from "../../../../src/base/linux/libc.ts"
import { awaitReadable } from "../../../../src/base/linux/poll.ts"
import { receive } from "../../../../src/base/linux/sockets.ts"
import { packSockaddrUn, packSockaddrUnAbstract } from "../../../../src/base/linux/structs.ts"

/** A service manager's end: a datagram socket at a path, or at `@` and an abstract name. */
export interface Receiver extends Disposable {
  /** All messages that have come by now. */
  read(): readonly string[]
  /** The messages until one has this line; throws when that does not come within 20 s. Lets other work go on. */
  until(line: string): Promise<readonly string[]>
}

export function receiver(address: string): Receiver {
  const packed = address.startsWith("@") ? packSockaddrUnAbstract(address.slice(1)) : packSockaddrUn(address)
  const fd = checked("socket", () => libc.socket(1, 2 | 0o2000000, 0))
  checked("bind", () => libc.bind(fd, packed, packed.length), address)
  const messages: string[] = []
  const buffer = new Uint8Array(64 * 1024)
  const read = () => {
    while (awaitReadable([fd], 0).length > 0) {
      const count = receive(fd, buffer)
      if (count === undefined) break
      messages.push(new TextDecoder().decode(buffer.subarray(0, count)))
    }
    return messages
  }
  return {
    read,
    async until(line) {
      for (const end = Date.now() + 20_000; ; await Bun.sleep(10)) {
        if (read().some((message) => message.split("\n").includes(line))) return messages
        if (Date.now() > end) throw new Error(`no ${line} in ${JSON.stringify(messages)}`)
      }
    },
    [Symbol.dispose]: () => close(fd),
  }
}
