import { expect } from "bun:test"
import { EXIT_OF, type FailureCode } from "../src/base/terms/failure.ts"

/** What a program said, and its exit status. */
export interface Said {
  readonly stdout: string
  readonly stderr: string
  readonly exit: number | null
}

/** A failure as --json tells it. */
export interface Told {
  readonly code: FailureCode
  readonly message: string
  readonly hint?: string
  readonly subject?: string
  readonly exit: number
}

/**
 * The failure that a command with --json ended with. Fails unless all that the command said is JSON (of standard output: one
 * document, or one a line), the failure is the last line, and the exit status is its code's.
 */
export function failureIn(said: Said): Told {
  const lines = messagesIn(said)
  const { error } = JSON.parse(lines.at(-1) ?? "{}")
  for (const line of lines.slice(0, -1)) expectMessage(line)
  expect(Object.keys(EXIT_OF)).toContain(error?.code)
  expect(error.message).toBeString()
  expect({ code: error.code, exit: said.exit }).toEqual({ code: error.code, exit: error.exit })
  if (error.code !== "INTERRUPTED") expect(said.exit).toBe(EXIT_OF[error.code as FailureCode])
  return error
}

/** Fails unless a command with --json ended well and said nothing but JSON. Returns its documents. */
export function documentsIn(said: Said): readonly unknown[] {
  for (const line of messagesIn(said)) expectMessage(line)
  expect(said.exit).toBe(0)
  try {
    return [JSON.parse(said.stdout)]
  } catch {
    return linesOf(said.stdout).map((line) => JSON.parse(line))
  }
}

// --- internal ---

/** What no line of JSON has in it as it is. */
const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029]/

function messagesIn({ stdout, stderr }: Said): readonly string[] {
  expect(stderr).not.toMatch(CONTROL)
  const parse = (text: string) => expect(() => JSON.parse(text), text).not.toThrow()
  if (linesOf(stdout).some((line) => !isJson(line))) parse(stdout)
  for (const line of linesOf(stderr)) parse(line)
  return linesOf(stderr)
}

function expectMessage(line: string): void {
  const { log } = JSON.parse(line)
  expect(["debug", "info", "warn", "error"], line).toContain(log?.level)
  expect(log.message).toBeString()
}

function linesOf(text: string): readonly string[] {
  return text.split("\n").filter((line) => line !== "")
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
