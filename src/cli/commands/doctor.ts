import { EXIT } from "../../base/terms/failure.ts"
import { ownPlaces } from "../../store/state/open.ts"
import { checksFor, examine } from "../../upkeep/doctor/examine.ts"
import { thisHost } from "../../upkeep/doctor/host.ts"
import { findingsJson, findingsText } from "../show/findings.ts"
import { BUILD } from "../terminal/build.ts"
import { command } from "../terminal/command.ts"

export default command({
  meta: { name: "doctor", description: "Look whether this host can run VMs, and say what mends it" },
  args: {
    json: { type: "boolean", description: "Print the findings as JSON" },
  },
  async run({ json, quiet }, { output }) {
    const host = thisHost(ownPlaces(), BUILD.compiled ? process.execPath : undefined)
    const found = await examine(host, checksFor(BUILD.target))
    output.print(json === true ? findingsJson(found) : findingsText(found, quiet === true))
    return found.some(({ verdict }) => verdict === "fail") ? EXIT.failed : EXIT.ok
  },
})
