import { type Ask, withNetlink } from "./netlinkSocket.ts"

/** Runs `use` with a connection to netfilter in this thread's network namespace (NETLINK_NETFILTER). */
export function withNetfilter<T>(use: (ask: Ask) => T): T {
  return withNetlink(NETLINK_NETFILTER, use)
}

/** What a message begins with, `struct nfgenmsg`: u8 family, u8 version, u16 resource. */
export function netfilterHeader(family: number): Uint8Array {
  return Uint8Array.of(family, 0, 0, 0)
}

/** The attributes of a message, behind that. */
export function behindHeader(body: Uint8Array): Uint8Array {
  return body.subarray(HEADER_BYTES)
}

// --- internal ---

const NETLINK_NETFILTER = 12
const HEADER_BYTES = 4
