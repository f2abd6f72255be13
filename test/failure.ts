import { expect } from "bun:test"
import type { FailureCode } from "../src/base/terms/failure.ts"

/** A failure with this code, these words in its message, and a hint: for `toThrow` and, awaited, `rejects.toThrow`. */
export function failure(code: FailureCode, words: string): Error {
  return expect.objectContaining({
    code,
    message: expect.stringContaining(words),
    hint: expect.any(String),
  }) as unknown as Error
}
