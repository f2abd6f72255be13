import { Failure, messageOf } from "../../base/terms/failure.ts"

/**
 * The regular files with these names in a tar archive, gzipped or not, whatever directory they are in there. Other files
 * are passed over without being kept in memory; owners, modes and links do not count. The archive must be authentic: how
 * large a file unpacks to is not limited, and of two files at one path the last counts. Rejects with a failure when it is
 * damaged, or has no file or several of a name.
 */
export async function unpackFiles(
  archive: Uint8Array<ArrayBuffer>,
  names: readonly string[],
): Promise<readonly Uint8Array[]> {
  const found = [...(await filesOf(archive, names))]
  return Promise.all(
    names.map((name) => {
      const [first, second] = found.filter(([path]) => path.split("/").at(-1) === name)
      if (first === undefined) throw notAuthentic(`the archive has no ${name}`)
      if (second !== undefined) throw notAuthentic(`the archive has two files ${name}`)
      return first[1].bytes()
    }),
  )
}

// --- internal ---

async function filesOf(archive: Uint8Array<ArrayBuffer>, names: readonly string[]): Promise<ReadonlyMap<string, File>> {
  try {
    return await new Bun.Archive(archive).files(names.map((name) => `**/${name}`))
  } catch (error) {
    throw notAuthentic(`the archive is damaged: ${messageOf(error)}`, error)
  }
}

function notAuthentic(message: string, cause?: unknown): Failure {
  return new Failure("NOT_AUTHENTIC", message, { hint: "nothing was changed", cause })
}
