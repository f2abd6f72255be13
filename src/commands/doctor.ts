import { checksFor, examine } from "../doctor/examine.ts"
import { thisHost } from "../doctor/host.ts"
import { ownPlaces } from "../lifecycle/session.ts"
import { EXIT } from "../terms/failure.ts"
import { BUILD } from "./build.ts"
import type { Command } from "./command.ts"
import { findingsJson, findingsText } from "./showFindings.ts"

const command: Command = {
  meta: { name: "doctor", description: "Look whether this host can run VMs, and say what mends it" },
  args: {
    json: { type: "boolean", description: "Print the findings as JSON" },
  },
  async run({ values, output }) {
    const host = thisHost(ownPlaces(), BUILD.compiled ? process.execPath : undefined)
    const found = await examine(host, checksFor(BUILD.target))
    output.print(values.json === true ? findingsJson(found) : findingsText(found, values.quiet === true))
    return found.some(({ verdict }) => verdict === "fail") ? EXIT.failed : EXIT.ok
  },
}
export default command
