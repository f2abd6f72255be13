import { monotonicMs } from "../../base/linux/clock.ts"
import type { DhcpLease } from "../../host/dhcp/message.ts"

/** What a supervisor that rests holds for its VM: open descriptors, which its next program inherits. */
export interface Rest {
  readonly id: string
  readonly name: string
  /** The VM's lock. */
  readonly lock: number
  /** The VMM's pidfd. */
  readonly vmm: number
  /** The console, then the VMM's own logs, each with the bytes that are kept of it. */
  readonly logs: readonly { readonly fd: number; readonly limitBytes: number }[]
  /** When the run's time is up, by `monotonicMs`, which is the same in every program of a process. */
  readonly until: number | undefined
  /** The restarts in a row by now, and when the last one was. */
  readonly restarts: Restarts
  /** The VM's directory. */
  readonly dir: number
  /** The connection that QEMU tells its events to; Firecracker has none. */
  readonly events: number | undefined
  /** The reason for shutting down that QEMU has told already, to the program before this one. */
  readonly announced?: string | undefined
  /** The socket that the guest's questions by DHCP come by, and what it is told; undefined where nothing is answered. */
  readonly dhcp?: { readonly fd: number; readonly lease: DhcpLease } | undefined
  /** The state's database. */
  readonly database: readonly number[]
}

/** How often a VM was booted again in a row, and when it was last, by `monotonicMs`. */
export interface Restarts {
  readonly count: number
  readonly since: number
}

/** A rest as the words of a command line. Pure. */
export function packRest({
  id,
  name,
  lock,
  vmm,
  dir,
  events,
  announced,
  dhcp,
  database,
  logs,
  until,
  restarts,
}: Rest): readonly string[] {
  return [
    ...[id, name, `lock=${lock}`, `vmm=${vmm}`, `dir=${dir}`, `restarts=${packRestarts(restarts)}`],
    ...(until === undefined ? [] : [`until=${until}`]),
    ...(events === undefined ? [] : [`events=${events}`]),
    ...packAnnounced(announced),
    ...(dhcp === undefined ? [] : [`dhcp=${packDhcp(dhcp)}`]),
    ...database.map((fd) => `database=${fd}`),
    ...logs.map(({ fd, limitBytes }) => `log=${fd}:${limitBytes}`),
  ]
}

/** What `packRest` has packed; undefined for words that are none of its. Pure. */
export function unpackRest([id, name, ...words]: readonly string[]): Rest | undefined {
  const of = (key: string) => words.flatMap((word) => (word.startsWith(`${key}=`) ? [word.slice(key.length + 1)] : []))
  const number = (key: string) => of(key).map(Number)[0]
  const [lock, vmm, dir] = [number("lock"), number("vmm"), number("dir")]
  const restarts = unpackRestarts(of("restarts")[0] ?? "")
  if (id === undefined || name === undefined) return undefined
  if (lock === undefined || vmm === undefined || dir === undefined) return undefined
  const logs = of("log").map((word) => {
    const [fd, limitBytes] = word.split(":").map(Number)
    return { fd: fd ?? -1, limitBytes: limitBytes ?? Number.NaN }
  })
  const known = { id, name, lock, vmm, dir, events: number("events"), until: number("until"), restarts }
  const dhcp = unpackDhcp(of("dhcp")[0])
  return { ...known, announced: of("announced").at(-1), dhcp, database: of("database").map(Number), logs }
}

/** What is added to the words of a rest when QEMU has told its reason. Pure. */
export function packAnnounced(announced: string | undefined): readonly string[] {
  return announced === undefined ? [] : [`announced=${announced}`]
}

/** As the word of an option. Pure. */
export function packRestarts({ count, since }: Restarts): string {
  return `${count}:${Math.round(since)}`
}

/** What `packRestarts` has packed; none so far, for a word that is none of its. Pure. */
export function unpackRestarts(word: string, now = monotonicMs()): Restarts {
  const [count, since] = word.split(":").map(Number)
  return Number.isSafeInteger(count) && Number.isSafeInteger(since)
    ? { count: count ?? 0, since: since ?? now }
    : { count: 0, since: now }
}

// --- internal ---

function packDhcp({ fd, lease }: NonNullable<Rest["dhcp"]>): string {
  const { mac, address, prefix, gateway, gatewayMac, dns, mtu = "", name } = lease
  return [fd, mac, address, prefix, gateway, gatewayMac, dns.join("+"), mtu, name].join()
}

function unpackDhcp(word: string | undefined): Rest["dhcp"] {
  const [fd, mac, address, prefix, gateway, gatewayMac, dns, mtu, name] = word?.split(",") ?? []
  if (mac === undefined || address === undefined || gateway === undefined || gatewayMac === undefined) return undefined
  if (dns === undefined || name === undefined) return undefined
  const lease = { mac, address, prefix: Number(prefix), gateway, gatewayMac, name }
  const servers = dns === "" ? [] : dns.split("+")
  return { fd: Number(fd), lease: { ...lease, dns: servers, mtu: mtu ? Number(mtu) : undefined } }
}
