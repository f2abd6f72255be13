import { AF, SOCK, SOL } from "./constants.ts"
import { SyscallError } from "./errors.ts"
import { fixed } from "./guards.ts"
import { afterCall, beforeCall } from "./interpose.ts"
import { checked, libc, retried } from "./libc.ts"
import { type Message, NLM_F, packMessage, parseEnd, parseMessages, partOf } from "./netlink.ts"

/** One request to a part of the kernel that speaks netlink. */
export interface NetlinkRequest {
  /** What the request is called in errors. */
  readonly name: string
  readonly type: number
  /** Besides REQUEST and ACK. */
  readonly flags?: number
  readonly body: Uint8Array
  /** Its object, in errors. */
  readonly subject?: string | undefined
  /** Which of very many messages are wanted: the others are forgotten as they are read. */
  readonly wants?: (message: Message) => boolean
}

/** Sends one request and waits for its whole answer. Throws a system error named after the request. */
export type Ask = (request: NetlinkRequest) => readonly Message[]

/** Runs `use` with a connection of a protocol (netlink(7)) to this thread's network namespace. */
export function withNetlink<T>(protocol: number, use: (ask: Ask) => T): T {
  const fd = checked("socket", () => libc.socket(AF.NETLINK, SOCK.RAW | SOCK.CLOEXEC, protocol), "netlink")
  try {
    // The kernel's own words with an error (Linux 4.12), without the request sent back (4.3).
    for (const option of [NETLINK_EXT_ACK, NETLINK_CAP_ACK]) setFlag(fd, option)
    let sequence = 0
    return use((request) => ask(fd, request, ++sequence))
  } finally {
    libc.close(fd)
  }
}

// --- internal ---

const NETLINK_CAP_ACK = 10
const NETLINK_EXT_ACK = 11

const EAGAIN = 11

/** More than the kernel puts into one answer. */
const BUFFER = fixed(128 * 1024)

/** How often a list that changed while it was read is read again. */
const TRIES_MAX_COUNT = 20

function setFlag(fd: number, option: number): void {
  const one = new Uint32Array(fixed(4).buffer)
  one[0] = 1
  checked("setsockopt", () => libc.setsockopt(fd, SOL.NETLINK, option, one, 4), "netlink")
}

function ask(fd: number, request: NetlinkRequest, sequence: number): readonly Message[] {
  for (let left = TRIES_MAX_COUNT; left > 0; left--) {
    const answer = askOnce(fd, request, sequence)
    if (answer !== undefined) return answer
  }
  // An incomplete list must not be believed.
  throw new SyscallError(request.name, EAGAIN, "the list changes all the time", request.subject)
}

/** Undefined when the list changed while it was read. */
function askOnce(
  fd: number,
  { name, type, flags = 0, body, subject, wants }: NetlinkRequest,
  sequence: number,
): readonly Message[] | undefined {
  const injected = beforeCall(name, subject)
  if (injected !== 0) throw new SyscallError(name, injected, String(libc.strerror(injected)), subject)
  const bytes = packMessage({ type, flags: NLM_F.REQUEST | NLM_F.ACK | flags, sequence, body })
  retried("send", () => libc.send(fd, bytes, bytes.length, 0), subject)
  const answer: Message[] = []
  let whole = true
  for (;;) {
    const length = retried("read", () => libc.read(fd, BUFFER, BUFFER.length), subject)
    // Copied: the next read writes over it.
    const read = wants === undefined ? BUFFER.slice(0, length) : BUFFER.subarray(0, length)
    const { messages, end, torn } = partOf(parseMessages(read), sequence)
    if (wants === undefined) answer.push(...messages)
    else for (const one of messages) if (wants(one)) answer.push({ ...one, body: one.body.slice() })
    if (torn) whole = false
    if (end === undefined) continue
    const { errno, words } = parseEnd(end)
    afterCall(name, subject)
    if (errno !== 0) throw new SyscallError(name, errno, words ?? String(libc.strerror(errno)), subject)
    return whole ? answer : undefined
  }
}
