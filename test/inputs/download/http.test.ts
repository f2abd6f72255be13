import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"

test("one file speaks HTTP to the network", () => {
  const speaking = [...new Bun.Glob("src/**/*.ts").scanSync(".")].filter(
    (path) => !path.endsWith(".d.ts") && /(?<![\w.])fetch\(|node:https?"/.test(readFileSync(path, "utf8")),
  )
  expect(speaking.sort()).toEqual(["src/inputs/download/download.ts"])
})
