import { expect, test } from "bun:test"
import { chmodSync, mkdirSync, rmSync, statSync } from "node:fs"
import { join } from "node:path"
import { isFailure } from "../../src/base/terms/failure.ts"
import { ensurePrivateDirectory } from "../../src/store/files/privateDirectory.ts"
import { eachInItsPlace } from "./support/place.ts"

const place = eachInItsPlace()

test("no place is made below a directory that another user makes meanwhile", async () => {
  const everybodys = join(place.dir, "tmp")
  mkdirSync(everybodys)
  chmodSync(place.dir, 0o711)
  chmodSync(everybodys, 0o1777)
  const script = 'while :; do mkdir "$0/a" && rmdir "$0/a"; done 2> /dev/null'
  await using hammer = Bun.spawn(["setpriv", "--reuid=1234", "--clear-groups", "sh", "-c", script, everybodys])
  let refused = 0
  let made = 0
  for (let round = 0; round < 100_000 && (refused < 20 || made < 20); round++) {
    try {
      ensurePrivateDirectory(join(everybodys, "a/b/c"), 0o700, true)
      made++
      expect(statSync(join(everybodys, "a")).uid).toBe(0)
    } catch (error) {
      // While its directory goes, there is nothing to make one in.
      if (!isFailure(error)) throw error
      refused++
    }
    rmSync(join(everybodys, "a"), { recursive: true, force: true })
  }

  expect(Math.min(refused, made)).toBeGreaterThanOrEqual(20)
  hammer.kill("SIGKILL")
}, 60_000)
