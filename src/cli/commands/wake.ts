import { decodeStatus } from "../../host/process/exitStatus.ts"
import { superviseVm } from "../../operations/supervise.ts"
import { openState } from "../../store/state/open.ts"
import { unpackRestarts } from "../../supervisor/rest/words.ts"
import { showEnd } from "../show/ends.ts"
import { command, vmArg } from "../terminal/command.ts"

/** What a supervisor that rests becomes when its VM needs it. */
export default command({
  meta: { name: "__wake", description: "Supervise a VM again after a rest", hidden: true },
  args: {
    vm: vmArg,
    lock: { type: "string", description: "The descriptor of the VM's lock" },
    restarts: { type: "string", description: "The restarts by now" },
    until: { type: "string", description: "When the run's time is up, by the monotonic clock" },
    signals: { type: "string", description: "The numbers of the signals that have come" },
    announced: { type: "string", description: "The reason that the VMM gave for shutting down" },
    status: { type: "string", description: "The wait status of the VMM, which has exited" },
  },
  async run({ vm, lock, restarts, until, signals = "", announced, status }, { output }) {
    using state = openState({ newer: "used", toEnd: true })
    const exited = status === undefined ? undefined : decodeStatus(Number(status))
    const woken = {
      ...{ lock: Number(lock), restarts: unpackRestarts(restarts ?? ""), exited, announced },
      signals: signals.split(",").flatMap((number) => (number === "" ? [] : Number(number))),
      until: until === undefined ? undefined : Number(until),
    }
    return showEnd(await superviseVm(state, vm, { log: output.log, woken, onReady: () => {} }), output, {
      document: false,
    })
  },
})
