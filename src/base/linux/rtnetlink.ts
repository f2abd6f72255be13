import type { Message } from "./netlink.ts"
import { withNetlink } from "./netlinkSocket.ts"

/** The messages of rtnetlink(7) that this program sends, by number. */
const RTM = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  SETLINK: 19,
  NEWADDR: 20,
  GETADDR: 22,
  NEWROUTE: 24,
  GETROUTE: 26,
  NEWNEIGH: 28,
  DELNEIGH: 29,
  GETNEIGH: 30,
} as const

/** One request to the kernel's routing layer; `subject` names its object in errors. */
export interface Request {
  readonly type: keyof typeof RTM
  /** Besides REQUEST and ACK. */
  readonly flags?: number
  readonly body: Uint8Array
  readonly subject?: string | undefined
}

/** A connection to the routing layer of the network namespace it was opened in. */
export interface Route {
  /** Sends one request and waits for its whole answer. Throws a system error named after the request. */
  request(request: Request): readonly Message[]
}

/** Runs `use` with a connection to this thread's network namespace (netlink(7), NETLINK_ROUTE). */
export function withRoute<T>(use: (route: Route) => T): T {
  return withNetlink(NETLINK_ROUTE, (ask) =>
    use({ request: ({ type, ...rest }) => ask({ ...rest, name: `RTM_${type}`, type: RTM[type] }) }),
  )
}

// --- internal ---

const NETLINK_ROUTE = 0
