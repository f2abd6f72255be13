import { isFailure, messageOf } from "../../base/terms/failure.ts"
import type { Output } from "./output.ts"

/** Shows an error as one message with its hint. The stack is only for `--verbose`. */
export function showFailure(error: unknown, log: Output["log"]): void {
  log.error(isFailure(error) && error.hint !== undefined ? `${error.message}\n${error.hint}` : messageOf(error))
  if (error instanceof Error && error.stack !== undefined) log.debug(error.stack)
  if (error instanceof Error && error.cause instanceof Error)
    log.debug(`caused by ${error.cause.stack ?? error.cause.message}`)
}
