import { Failure } from "../../base/terms/failure.ts"
import type { VmRecord } from "../../store/state/records.ts"
import { isFinal } from "../../store/state/vmState.ts"
import { ownerOf } from "../../vm/request.ts"

/** A user whom root's helper runs VMs for. */
export interface Owner {
  readonly uid: number
  /** They may have so many VMs at a time. */
  readonly vmsMax: number
}

/**
 * Throws unless a user may have a VM of this name now, by all records: IN_USE for the name of a VM of root's, which keeps it until it is
 * removed, whether it runs or not: between its end and its next start a user would take the name, and keep it down. BUSY for more VMs
 * than they may have, by names: one that is being booted again is one. Pure.
 */
export function requireAdmitted(records: readonly VmRecord[], name: string, { uid, vmsMax }: Owner): void {
  if (records.some((record) => record.name === name && ownerOf(record) === undefined)) {
    const hint = "choose another with --name"
    throw new Failure("IN_USE", `the name ${name} is taken by another user's VM`, { hint, subject: name })
  }
  const theirs = records.filter(
    (record) => ownerOf(record) === uid && (!isFinal(record.state) || record.restart_at !== null),
  )
  const others = new Set(theirs.map((record) => record.name).filter((other) => other !== name))
  if (others.size < vmsMax) return
  const hint = "stop one; or root allows more: sudoVms in /etc/banger/config.toml"
  throw new Failure("BUSY", `uid ${uid} has ${others.size} VMs by sudo, and may have ${vmsMax} at a time`, {
    ...{ hint, subject: "sudoVms" },
  })
}
