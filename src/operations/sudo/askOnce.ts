import { Failure } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import type { Request } from "../../inputs/helper/messages.ts"
import { ask, type DistributiveOmit, startHelper } from "./helperProcess.ts"

/** What root's helper can be asked for once. */
export type Asked = DistributiveOmit<Exclude<Request, Request<"run">>, "id">

/** Asks root's helper of this `build` for one thing. Throws what it failed with, and NEEDS_ROOT where there is none. */
export async function askOnce(
  build: string,
  request: Asked,
  hear: { readonly log: Log; readonly data: (bytes: Uint8Array) => unknown },
): Promise<unknown> {
  const helper = await startHelper(build)
  if ("unavailable" in helper) {
    const hint = "run banger as root"
    throw new Failure("NEEDS_ROOT", `root's helper cannot be asked: ${helper.unavailable}`, { hint, subject: "sudo" })
  }
  try {
    return await ask(helper, request, hear)
  } finally {
    helper[Symbol.dispose]()
  }
}
