import { EXIT } from "../../base/terms/failure.ts"
import { ownPlaces } from "../../store/state/open.ts"
import { checksFor, examine } from "../../upkeep/doctor/examine.ts"
import { examinationOf } from "../../upkeep/doctor/finding.ts"
import { thisHost } from "../../upkeep/doctor/host.ts"
import { findingsText } from "../show/findings.ts"
import { BUILD } from "../terminal/build.ts"
import type { Command } from "../terminal/command.ts"

const command: Command = {
  meta: { name: "doctor", description: "Look whether this host can run VMs, and say what mends it" },
  args: {
    json: { type: "boolean", description: "Print the findings as JSON" },
  },
  async run({ values, output }) {
    const host = thisHost(ownPlaces(), BUILD.compiled ? process.execPath : undefined)
    const found = await examine(host, checksFor(BUILD.target))
    const all = examinationOf(found)
    output.print(values.json === true ? JSON.stringify(all, null, 2) : findingsText(found, values.quiet === true))
    return all.is === "fail" ? EXIT.failed : EXIT.ok
  },
}
export default command
