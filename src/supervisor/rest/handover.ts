import { O, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { readAll } from "../../base/linux/content.ts"
import { openAt, unlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { replaceFile } from "../../store/files/replaceFile.ts"
import { HANDOVER, type VmLayout } from "../../store/state/places.ts"

/** A larger file than this is no request, in bytes. */
const REQUEST_MAX_BYTES = 16 * 1024

/** Writes down which program, by its first words, the supervisor of a VM is to become. */
export function writeHandover({ handover }: Pick<VmLayout, "handover">, program: readonly string[]): void {
  replaceFile(handover, JSON.stringify(program), { lasting: "nothing" })
}

/**
 * The words of the program that the supervisor of a VM is asked to become, by the descriptor of the VM's directory, which only its
 * owner can write to; undefined where nothing, or nothing that can be understood, is asked. The request is removed.
 */
export function takeHandover(dir: number): readonly string[] | undefined {
  try {
    const text = withDescriptor(openAt(dir, HANDOVER, O.RDONLY | O_NOFOLLOW | O.NONBLOCK), (fd) =>
      new TextDecoder().decode(readAll(fd, REQUEST_MAX_BYTES)),
    )
    unlinkAt(dir, HANDOVER)
    const words: unknown = JSON.parse(text)
    if (!Array.isArray(words) || !words.every((word) => typeof word === "string")) return undefined
    return words[0]?.startsWith("/") === true ? words : undefined
  } catch {
    // There is none; or it cannot be removed, and would be followed at every signal.
    return undefined
  }
}
