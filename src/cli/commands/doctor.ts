import { Failure } from "../../base/terms/failure.ts"
import { ownPlaces } from "../../store/state/open.ts"
import { checksFor, examine } from "../../upkeep/doctor/examine.ts"
import { examinationOf } from "../../upkeep/doctor/finding.ts"
import { thisHost } from "../../upkeep/doctor/host.ts"
import { findingsText } from "../show/findings.ts"
import { BUILD } from "../terminal/build.ts"
import { command } from "../terminal/command.ts"

export default command({
  meta: { name: "doctor", description: "Check whether this host can run VMs, and say how to mend it" },
  args: {
    json: { type: "boolean", description: "Print the findings as JSON" },
  },
  async run({ quiet }, { output }) {
    const host = thisHost(ownPlaces(), BUILD.compiled ? process.execPath : undefined)
    const found = await examine(host, checksFor(BUILD.target))
    output.show(examinationOf(found), findingsText(found, quiet === true))
    const failed = found.filter(({ is }) => is === "fail")
    if (failed.length === 0) return undefined
    const hint = failed.map(({ hint }) => hint).find((hint) => hint !== undefined)
    const checks = failed.map(({ id }) => id).join(", ")
    return new Failure("HOST_LACKS", `this host fails the checks ${checks}`, { hint, subject: failed[0]?.id })
  },
})
