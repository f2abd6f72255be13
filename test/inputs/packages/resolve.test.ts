import { expect, test } from "bun:test"
import { dirname } from "node:path"
import { type Package, type PackageFiles, resolvePackage } from "../../../src/inputs/packages/resolve.ts"

/** Files by their paths; a package.json by its directory. */
function filesOf(paths: readonly string[], packages: Readonly<Record<string, Package>>): PackageFiles {
  const directories = new Set(paths.flatMap((path) => above(path)))
  return {
    isFile: (path) => paths.includes(path),
    isDirectory: (path) => directories.has(path),
    packageIn: (directory) => packages[directory],
  }
}

function above(path: string): readonly string[] {
  return path === "/" ? [] : [dirname(path), ...above(dirname(path))]
}

const files = filesOf(
  [
    "/p/node_modules/plain/index.js",
    "/p/node_modules/plain/sub.cjs",
    "/p/node_modules/plain/sub/index.js",
    "/p/node_modules/named/src/main.mjs",
    "/p/node_modules/dirs/lib/index.js",
    "/p/node_modules/@s/o/a.js",
    "/p/node_modules/@s/o/b.js",
    "/p/node_modules/@s/o/deep/x/y.js",
    "/p/node_modules/@s/o/node_modules/plain/index.js",
    "/p/node_modules/util/util.js",
    "/p/node_modules/up/index.js",
    "/p/secret.js",
    "/p/lib/entry.js",
    "/p/both.ts",
    "/p/both/other.js",
    "/node_modules/plain/top.js",
  ],
  {
    "/p": { name: "mine", imports: { "#dep": { import: "plain", require: "./lib/entry.js" } } },
    "/p/lib": { main: "./entry" },
    "/p/both": { main: "other.js" },
    "/p/node_modules/named": { main: "./missing.js", module: "src/main.mjs" },
    "/p/node_modules/dirs": { main: "lib" },
    "/p/node_modules/@s/o": {
      name: "@s/o",
      exports: { ".": [{ import: "./b.js" }, "./a.js"], "./*": "./deep/*/y.js", "./x": null, "./up": "../up/index.js" },
    },
    "/p/node_modules/util": { main: "util.js" },
    "/p/node_modules/up": { main: "../../secret.js" },
  },
)

test.each<[word: string, importer: string, naming: "import" | "require", path: string | undefined]>([
  ["plain", "/p/x.ts", "import", "/p/node_modules/plain/index.js"],
  ["plain/sub", "/p/x.ts", "import", "/p/node_modules/plain/sub.cjs"],
  ["plain/", "/p/x.ts", "require", "/p/node_modules/plain/index.js"],
  ["plain/top", "/p/deep/x.ts", "import", "/node_modules/plain/top.js"],
  ["plain", "/p/node_modules/@s/o/a.js", "import", "/p/node_modules/@s/o/node_modules/plain/index.js"],
  ["named", "/p/x.ts", "import", "/p/node_modules/named/src/main.mjs"],
  ["dirs", "/p/x.ts", "import", "/p/node_modules/dirs/lib/index.js"],
  ["@s/o", "/p/x.ts", "import", "/p/node_modules/@s/o/b.js"],
  ["@s/o", "/p/x.ts", "require", "/p/node_modules/@s/o/a.js"],
  ["@s/o/x", "/p/x.ts", "import", undefined],
  ["@s/o/up", "/p/x.ts", "import", undefined],
  ["@s/o/a.js", "/p/x.ts", "import", undefined],
  ["@s/o", "/p/node_modules/@s/o/a.js", "import", "/p/node_modules/@s/o/b.js"],
  ["#dep", "/p/x.ts", "import", "/p/node_modules/plain/index.js"],
  ["#dep", "/p/x.ts", "require", "/p/lib/entry.js"],
  ["#none", "/p/x.ts", "import", undefined],
  ["#dep", "/p/node_modules/plain/index.js", "import", undefined],
  ["util/", "/p/x.ts", "require", "/p/node_modules/util/util.js"],
  ["up", "/p/x.ts", "import", "/p/node_modules/up/index.js"],
  ["./lib", "/p/x.ts", "import", "/p/lib/entry.js"],
  ["./both", "/p/x.ts", "import", undefined],
  ["..", "/p/lib/deep/x.ts", "import", "/p/lib/entry.js"],
  ["./x.js", "/p/x.ts", "import", undefined],
  ["none", "/p/x.ts", "import", undefined],
  ["@/lib", "/p/x.ts", "import", undefined],
  ["../../../etc/x", "/p/x.ts", "import", undefined],
  ["..%2fx", "/p/x.ts", "import", undefined],
])("%s in %s by %s", (word, importer, naming, path) => {
  expect(resolvePackage({ word, importer, naming }, files)).toBe(path)
})

test.each(["__proto__", "constructor", "toString"])("%s is a name as any other", (word) => {
  expect(resolvePackage({ word, importer: "/p/x.ts", naming: "import" }, files)).toBeUndefined()
  expect(resolvePackage({ word: `#${word}`, importer: "/p/x.ts", naming: "import" }, files)).toBeUndefined()
})
