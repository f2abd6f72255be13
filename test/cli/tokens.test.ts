import { expect, test } from "bun:test"
import { parseArgs } from "node:util"
import { type OptionForm, tokensOf } from "../../src/cli/terminal/tokens.ts"

const FORMS: ReadonlyMap<string, OptionForm> = new Map([
  ["name", { takesValue: true, short: "n" }],
  ["set", { takesValue: true, short: undefined }],
  ["quiet", { takesValue: false, short: "q" }],
  ["detach", { takesValue: false, short: "d" }],
])

/** What node:util finds. */
function known(words: readonly string[]) {
  const options = Object.fromEntries(
    [...FORMS].map(([name, { takesValue, short }]) => {
      const type = takesValue ? "string" : "boolean"
      return [name, { type, ...(short !== undefined && { short }) } as const]
    }),
  )
  const how = { strict: false, allowPositionals: true, allowNegative: true, tokens: true } as const
  return parseArgs({ ...how, args: [...words], options }).tokens.map(({ index: _, ...token }) => token)
}

test("the tokens are those of node:util", () => {
  const parts = [
    ...["-", "-n", "-q", "-d", "-x", "-qd", "-nv", "-qnv", "-qxd", "-q=1", "-n=1", "-é", "-q-d", "-d-quiet", "-q--"],
    ...["--name", "--name=", "--name=a=b", "--quiet", "--quiet=1", "--no-quiet", "--no-name", "--no-", "--no-x=1"],
    ...["--nobody", "--=x", "--x=", "---", "---x", "a", "", "a=b", "no-quiet", "ü", "--set", "--constructor"],
  ]
  let state = 1
  for (let round = 0; round < 20_000; round++) {
    const words = Array.from({ length: round % 6 }, () => {
      state = (state * 48271) % 2147483647
      return parts[state % parts.length] ?? ""
    })
    expect({ words, tokens: tokensOf(words, FORMS) as object[] }).toEqual({ words, tokens: known(words) })
  }
})
