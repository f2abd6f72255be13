import { chmodSync, mkdirSync } from "node:fs"
import { join } from "node:path"
import type { SweptSocket } from "../../../src/host/sockets/report.ts"
import type { Settings } from "../../../src/host/sockets/sweepDirectory.ts"
import { type SocketReport, type SocketSweep, sweepSockets } from "../../../src/host/sockets/sweepSockets.ts"

/** What a test may change of a sweep, its rules included. */
export type Change = Partial<Omit<SocketSweep, "rules" | "dirs">> & Partial<Settings["rules"]>

/** Sweeps directories in this process: everybody's sockets, no grace, one look, no locks; each socket is in the report. */
export function sweepNow(dirs: readonly string[], change: Change = {}): Promise<SocketReport> {
  const { grace = 0, uid, ownerOf = () => undefined, ...rest } = change
  return sweepSockets({
    dirs,
    rules: { grace, uid, ownerOf },
    dryRun: false,
    confirm: 1,
    confirmDelay: 0,
    depth: 1,
    veto: undefined,
    lock: (_, work) => work(),
    keep: () => true,
    ...rest,
  })
}

/** What each socket is, with the reason where it has one (`kept: young`), by its path. */
export function verdicts(report: SocketReport): Readonly<Record<string, string>> {
  const words = ({ is, reason }: SweptSocket) => (reason === undefined ? is : `${is}: ${reason}`)
  const sockets = report.directories.flatMap((directory) => directory.sockets)
  return Object.fromEntries(sockets.map((socket) => [socket.path, words(socket)]))
}

/** A new directory, sticky unless told. */
export function directoryIn(parent: string, name: string, mode = 0o1755): string {
  const dir = join(parent, name)
  mkdirSync(dir)
  chmodSync(dir, mode)
  return dir
}
