import { openFrames, sendFrame } from "../../base/linux/frames.ts"
import { findLink, findLinkAt } from "../../base/linux/links.ts"
import { withRoute } from "../../base/linux/rtnetlink.ts"
import { receive } from "../../base/linux/sockets.ts"
import { answerDhcp } from "./answer.ts"
import { dhcpFilter } from "./filter.ts"
import { type DhcpLease, FRAME_MAX_BYTES } from "./message.ts"

// The room dhcp: a guest on a bridge of banger's own asks for its address, and is told what it has.
// The rule: a socket hears and answers one guest at its own port, and what it sends is bounded and never believed.

/** Answers a guest's questions by DHCP, and nobody else's: what comes in by its own port alone is heard. */
export interface DhcpServer {
  readonly lease: DhcpLease
  /** The socket, for the program that takes this one's place in this process and answers from here on; undefined once it is closed. */
  readonly fd: number | undefined
  /** Idempotent. */
  close(): void
}

/**
 * So many questions of a guest are looked at by one program: a guest that goes on asking costs the host no more. A guest that asks
 * when it boots, and when its network starts anew, never comes near.
 */
export const QUESTIONS_MAX_COUNT = 1000

/**
 * Answers a guest from this process's event loop, which it does not keep alive, until the guest's interface has gone; while that is
 * down, nothing is heard. `link`: the
 * guest's port on this host. Throws as `openFrames` does; undefined where there is no such interface.
 */
export async function serveDhcp(link: string, lease: Omit<DhcpLease, "mtu">): Promise<DhcpServer | undefined> {
  const found = withRoute((route) => findLink(route, link))
  if (found === undefined) return undefined
  const told = { ...lease, mtu: found.mtu === MTU_BYTES ? undefined : found.mtu }
  let left = QUESTIONS_MAX_COUNT
  let ended = false
  let heard: Heard | undefined
  const hear = async () => {
    const fd = openFrames(found, dhcpFilter(lease.mac))
    const data = (socket: Bun.Socket, frame: Uint8Array) => {
      answer(fd, frame, told)
      if (--left > 0) return
      ended = true
      socket.terminate()
    }
    heard = { fd, socket: undefined }
    // An interface that goes down closes it: it may come up again.
    const closed = () => {
      heard = undefined
      if (!ended) setTimeout(again, HEAR_AGAIN_MS).unref()
    }
    // Bun takes any socket's descriptor, its types do not say so of connect().
    const options: Bun.TCPSocketConnectOptions & Bun.FdSocketOptions = {
      ...{ fd, hostname: "", port: 0 },
      // What goes wrong with one question is no reason to hear no other.
      socket: { data, close: closed, error: () => undefined },
    }
    const socket = await Bun.connect(options)
    socket.unref()
    if (heard?.fd === fd) heard = { fd, socket }
  }
  const again = () => {
    const now = withRoute((route) => findLinkAt(route, found))
    if (ended || now === undefined) return
    if (now.up) hear().catch(() => undefined)
    else setTimeout(again, HEAR_AGAIN_MS).unref()
  }
  await hear()
  return {
    lease: told,
    get fd() {
      return heard?.fd
    },
    close() {
      ended = true
      heard?.socket?.terminate()
      heard = undefined
    },
  }
}

/**
 * Answers what a guest has asked by now; for a program without an event loop. Returns how many questions there were, at most sixteen. A port that
 * is down for a while is heard again after that.
 */
export function answerWaiting(fd: number, lease: DhcpLease): number {
  for (let count = 0; count < AT_ONCE_MAX_COUNT; count++) {
    const length = receive(fd, BUFFER)
    if (length === undefined || length === 0) return count
    answer(fd, BUFFER.subarray(0, length), lease)
  }
  return AT_ONCE_MAX_COUNT
}

// --- internal ---

/** What each Ethernet carries. */
const MTU_BYTES = 1500

/** An interface that has gone down is looked at again so many milliseconds later, as long as it is there. */
const HEAR_AGAIN_MS = 1000

interface Heard {
  readonly fd: number
  readonly socket: Bun.Socket | undefined
}

/** Between two looks at what else is awaited. */
const AT_ONCE_MAX_COUNT = 16
const BUFFER = new Uint8Array(new ArrayBuffer(FRAME_MAX_BYTES))

function answer(fd: number, frame: Uint8Array, lease: DhcpLease): void {
  const reply = answerDhcp(frame, lease)
  if (reply !== undefined) sendFrame(fd, reply)
}
