import { test } from "bun:test"
import { existsSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"

const bin = process.env.BANGER_TEST_FIRECRACKER ?? join(homedir(), ".cache/banger-test/firecracker")
const missing = ["firecracker", "jailer"].filter((name) => !existsSync(join(bin, name)))
if (missing.length > 0) console.log(`not on the real Firecracker: ${bin} has no ${missing.join(" and no ")}`)

/** Whether the real Firecracker is in the host: scripts/test puts it there where this machine has it. */
export const hasFirecracker = missing.length === 0

/** `test` for what needs it. */
export const firecrackerTest = test.skipIf(!hasFirecracker)
