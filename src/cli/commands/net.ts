import { Failure } from "../../base/terms/failure.ts"
import { checkNetwork } from "../../operations/networkCheck.ts"
import { listHostNames } from "../../operations/networkHosts.ts"
import { listNetwork } from "../../operations/networkList.ts"
import { type NetworkRemoval, removeNetwork } from "../../operations/networkRemove.ts"
import { openState, type State } from "../../store/state/open.ts"
import { networkTables } from "../show/networks.ts"
import { command } from "../terminal/command.ts"
import type { Output } from "../terminal/output.ts"

const ls = command({
  meta: { name: "ls", description: "List bridges, taps, leases and rules, and whose they are" },
  args: {},
  run(_values, { output }) {
    using state = openState()
    const found = listNetwork(state)
    const text = networkTables(found)
    if (text === "") output.log.info("banger has no network here")
    output.show(found, text)
    return undefined
  },
})

const rm = command({
  meta: { name: "rm", description: "Remove interfaces, tables and leases that no VM needs any more" },
  args: {
    name: { type: "positional", required: false, description: "Only this interface, table or lease" },
    "dry-run": { type: "boolean", description: "Say what would be removed, and why" },
  },
  run({ name, "dry-run": dryRun }, { output }) {
    if (process.geteuid?.() !== 0)
      throw new Failure("NEEDS_ROOT", "banger net rm removes interfaces: only root can", { hint: "run it as root" })
    using state = openState()
    return remove(state, { name, dryRun: dryRun === true }, output)
  },
})

const check = command({
  meta: { name: "check", description: "Send packets over a bridge, and say where they get lost" },
  args: {
    bridge: { type: "string", valueHint: "NAME", description: "The bridge to send packets over (bgr0)" },
    to: { type: "string", valueHint: "ADDRESS", description: "Whom to reach (the host's router)" },
  },
  run({ bridge, to }, { output }) {
    using state = openState()
    const steps = checkNetwork(state, bridge, to)
    const told = steps.map(
      ({ what, ok, why }) => `${ok ? "ok  " : "FAIL"}  ${what}${why === undefined ? "" : `: ${why}`}`,
    )
    output.show(steps, told.join("\n"))
    const broken = steps.find(({ ok }) => !ok)
    if (broken === undefined) return undefined
    return new Failure("HOST_LACKS", `${broken.what}: ${broken.why ?? "it fails"}`, { subject: bridge ?? "bgr0" })
  },
})

const hosts = command({
  meta: { name: "hosts", description: "Print the addresses and names of VMs that are up, as lines of /etc/hosts" },
  args: {},
  run(_values, { output }) {
    using state = openState()
    const found = listHostNames(state)
    if (found.length === 0) output.log.info("no VM with an address is up")
    output.show(found, found.map(({ address, name }) => `${address} ${name}`).join("\n"))
    return undefined
  },
})

export default command({
  meta: { name: "net", description: "Look after the network: list it, remove leftovers, send packets" },
  args: {},
  subCommands: { ls, hosts, rm, check },
})

// --- internal ---

function remove(state: State, removal: NetworkRemoval, output: Output): Failure | undefined {
  const done = removeNetwork(state, removal)
  const told = done.map(({ kind, name, is, why }) => `${is === "dead" ? "would remove" : is}: ${kind} ${name}: ${why}`)
  output.show(done, told.join("\n"))
  const left = done.find(({ is }) => is === "unknown" || (removal.name !== undefined && is === "kept"))
  if (left === undefined) return undefined
  const code = left.is === "unknown" ? "LIVENESS_UNKNOWN" : "IN_USE"
  return new Failure(code, `${left.name} is left: ${left.why}`, { subject: left.name })
}
