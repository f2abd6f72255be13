import { writeFor } from "../../base/linux/writer.ts"

/** An answer is shorter. */
const ANSWER_MAX_BYTES = 1024

/** A terminal takes a question within this time, in milliseconds. */
const TERMINAL_WAIT_MS = 3000

/** Whether there is a person who can be asked: both ends of the talk are a terminal. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true
}

/** Asks a question on the terminal; true only for an answer that begins with y. */
export async function confirmed(question: string): Promise<boolean> {
  writeFor(2, new TextEncoder().encode(`${question} [y/N] `), { patienceMs: TERMINAL_WAIT_MS })
  const decoder = new TextDecoder()
  let answer = ""
  for await (const piece of Bun.stdin.stream()) {
    answer += decoder.decode(piece, { stream: true })
    if (answer.includes("\n") || answer.length > ANSWER_MAX_BYTES) break
  }
  return /^\s*y/i.test(answer)
}
