import { formatAddress, parseAddress } from "./address.ts"

/** A port of the host that leads to one of the guest. */
export interface Port {
  readonly protocol: "tcp" | "udp"
  /** The host's address that it is reached at; undefined: any. */
  readonly address?: string | undefined
  readonly host: number
  readonly guest: number
}

/** What `parsePort` takes, in words. */
export const PORT_WORDS =
  '"HOST:GUEST", "ADDRESS:HOST:GUEST", each with or without "/udp": "8080:80", "127.0.0.1:2222:22"'

/** `8080:80/tcp`, `127.0.0.1:2222:22`; undefined for anything else. The protocol is tcp where none is named. */
export function parsePort(text: string): Port | undefined {
  const [, address, host = "", guest = "", protocol = "tcp"] =
    /^(?:([\d.]+):)?([1-9]\d{0,4}):([1-9]\d{0,4})(?:\/(tcp|udp))?$/.exec(text) ?? []
  if (!isPort(Number(host)) || !isPort(Number(guest))) return undefined
  const parsed = address === undefined ? undefined : parseAddress(address)
  if (address !== undefined && parsed === undefined) return undefined
  // Nobody has an address of a group (224.0.0.0 and up), nor one that is of "this network".
  if (parsed !== undefined && parsed !== 0 && (parsed >>> 24 === 0 || parsed >>> 24 >= 224)) return undefined
  return {
    protocol: protocol === "udp" ? "udp" : "tcp",
    // 0.0.0.0 means any address, here as everywhere.
    address: parsed === undefined || parsed === 0 ? undefined : formatAddress(parsed),
    host: Number(host),
    guest: Number(guest),
  }
}

/** A port as it is written. */
export function formatPort({ address, host, guest, protocol }: Port): string {
  return `${address === undefined ? "" : `${address}:`}${host}:${guest}/${protocol}`
}

/** The host's side of a port, for messages: `127.0.0.1:2222/tcp`. */
export function hostSide({ address, host, protocol }: Port): string {
  return `${address === undefined ? "" : `${address}:`}${host}/${protocol}`
}

/** Whether two cannot both have the host's side. */
export function clash(
  a: Pick<Port, "protocol" | "address" | "host">,
  b: Pick<Port, "protocol" | "address" | "host">,
): boolean {
  const apart = a.address !== undefined && b.address !== undefined && a.address !== b.address
  return a.protocol === b.protocol && a.host === b.host && !apart
}

// --- internal ---

function isPort(number: number): boolean {
  return number >= 1 && number <= 65_535
}
