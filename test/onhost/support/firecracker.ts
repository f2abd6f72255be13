import { test } from "bun:test"
import { existsSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"

const bin = process.env.BANGER_TEST_FIRECRACKER ?? join(homedir(), ".cache/banger-test/firecracker")
const missing = ["firecracker", "jailer"].filter((name) => !existsSync(join(bin, name)))
if (missing.length > 0) console.log(`not on the real Firecracker: ${bin} has no ${missing.join(" and no ")}`)

/** `test` for what needs the real Firecracker, which scripts/test puts into the host where this machine has it. */
export const firecrackerTest = test.skipIf(missing.length > 0)
