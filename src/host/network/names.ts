import { NAME_MAX } from "../../base/linux/links.ts"
import { bytesOf, CARD, ipv6Bytes } from "../../base/terms/address.ts"
import type { Lease } from "../../store/state/leases.ts"

/** The link group that banger's interfaces are made in: `bgr` in ASCII. It marks those that have no alias yet. */
export const MARK = 0x62_67_72

/**
 * The link group of an owner's guests' ports, on bridges of banger's own or of the user's: rules know them by it, whatever somebody
 * calls them.
 */
export function portGroup(owner: string, bridges: "own" | "users"): number {
  return 0x62_00_00_00 + digest(`${owner} ${bridges}`).readUIntBE(0, 3)
}

/** What an interface's alias says of it. */
export interface Alias {
  readonly kind: "bridge" | "tap" | "veth"
  /** The VM it is for; undefined for a bridge. */
  readonly vm: string | undefined
  /** The state directory of the banger that made it. */
  readonly owner: string
}

/** The interface of a VM: `bgr` and the last letters of its id, which are random. */
export function linkName(id: string): string {
  const short = /[a-z0-9]{8}$/.exec(id)?.[0] ?? digest(id).toString("hex").slice(0, 12)
  return `bgr${short}`.slice(0, NAME_MAX)
}

/** The next interface of a VM that has these: the first bears its plain name, the others count on from it. */
export function linkOf(id: string, has: readonly string[]): string {
  const first = linkName(id)
  if (!has.includes(first)) return first
  // An id's last letters are eight, so that no other VM's interface is called so.
  const name = (count: number) => `${first.slice(0, NAME_MAX - 3)}c${count}`
  let count = 1
  while (has.includes(name(count))) count++
  return name(count)
}

/** A MAC for this card alone, as `macOf` makes one: the plugin's own card has its VM's. */
export function cardMac({ vm, card }: { readonly vm: string; readonly card: string }): string {
  return macOf(card === CARD ? vm : `${vm} ${card}`)
}

/** A MAC for this VM alone: locally administered, derived from its id. */
export function macOf(id: string): string {
  return [0x02, ...digest(id).subarray(0, 5)].map((byte) => byte.toString(16).padStart(2, "0")).join(":")
}

/** The owner of what the banger of a state directory makes, short enough for an alias (at most 255 bytes). */
export function ownerOf(stateDirectory: string): string {
  const plain = /^[\x21-\x7e]{1,160}$/.test(stateDirectory)
  return plain ? stateDirectory : `sha256:${digest(stateDirectory).toString("hex")}`
}

/** The text of an alias. */
export function formatAlias({ kind, vm, owner }: Alias): string {
  return `banger ${kind} ${vm ?? "-"} ${owner}`
}

/** Reads an alias of banger's; undefined for any other text. */
export function parseAlias(text: string | undefined): Alias | undefined {
  const [, kind, vm, owner] = /^banger (bridge|tap|veth) ([a-z0-9-]{1,64}) ([\x21-\x7e]+)$/.exec(text ?? "") ?? []
  if (kind === undefined || vm === undefined || owner === undefined) return undefined
  return { kind: kind as Alias["kind"], vm: vm === "-" ? undefined : vm, owner }
}

/** Whether an alias is the mark of a VM's interface. */
export function marksVm(
  alias: string | undefined,
  { owner, vm }: { readonly owner: string; readonly vm: string },
): boolean {
  const mark = parseAlias(alias)
  return mark?.owner === owner && mark.vm === vm
}

/** The name of the two nftables tables (families inet and bridge) with this owner's rules. */
export function tableName(owner: string): string {
  return owner === "/var/lib/banger" ? "banger" : `banger_${digest(owner).toString("hex").slice(0, 8)}`
}

/** The table that counts packets while a check runs. */
export const CHECK_TABLE = "banger_check"

/** The unique local IPv6 network (RFC 4193) of a bridge, as the 8 bytes of a /64. */
export function ipv6Network(owner: string, bridge: string): Uint8Array {
  return ipv6Bytes(Uint8Array.of(0xfd, ...digest(`${owner} ${bridge}`).subarray(0, 5), 0, 1), 0).subarray(0, 8)
}

/** The addresses that a guest has by its lease. */
export function guestAddresses(
  { subnet, number, ipv6, bridge }: Pick<Lease, "subnet" | "number" | "ipv6" | "bridge">,
  owner: string,
): readonly Uint8Array[] {
  const own = bytesOf(subnet.base + number)
  return ipv6 ? [own, ipv6Bytes(ipv6Network(owner, bridge), number)] : [own]
}

/** The MAC of a bridge: it stays the same whatever its ports are. */
export function bridgeMac(owner: string, bridge: string): string {
  return macOf(`${owner} ${bridge}`)
}

// --- internal ---

function digest(text: string): Buffer {
  return new Bun.CryptoHasher("sha256").update(text).digest()
}
