import { Failure } from "../../base/terms/failure.ts"
import { hearing } from "../../base/terms/message.ts"
import type { Output } from "../terminal/output.ts"

/** Passes on what another banger says, line by line. */
export interface Relay {
  readonly say: (line: string) => void
  /** The failure of that banger, which ended with this exit status: told already, in words for people. */
  failure(status: number): Failure
}

/**
 * Passes messages of another banger on, which was told to speak as this one does. With --json its failure is kept back, for
 * this one to end with; what it says otherwise than in JSON (a program that a hook started may) becomes a message.
 */
export function relay({ manner, say, log }: Pick<Output, "manner" | "say" | "log">): Relay {
  const pass = (line: string) => say(line, "err")
  const heard = hearing(log, pass)
  return {
    say: manner.json ? heard.line : pass,
    // FAILED: it ended without a word, which nothing else tells.
    failure: (status) =>
      heard.failure() ??
      new Failure("FAILED", `the banger in the background ended with exit status ${status}`, { exit: status }),
  }
}
