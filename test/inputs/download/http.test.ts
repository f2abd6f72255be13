import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"

test("two files speak HTTP: one downloads, one asks Firecracker by its socket", () => {
  const speaking = [...new Bun.Glob("src/**/*.ts").scanSync(".")].filter(
    (path) => !path.endsWith(".d.ts") && /(?<![\w.])fetch\(|node:https?"/.test(readFileSync(path, "utf8")),
  )
  expect(speaking.sort()).toEqual(["src/host/firecracker/api.ts", "src/inputs/download/download.ts"])
})
