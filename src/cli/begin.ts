import { holdProcess } from "../base/linux/hold.ts"
import { main } from "./main.ts"
import { leave } from "./terminal/leave.ts"

/** Does what the words of a command line ask for, in this process, and ends it with the exit status. */
export async function begin(words: readonly string[]): Promise<never> {
  holdProcess()
  return leave(await main(words))
}
