/** Bytes as they come, handed on line by line. */
export interface WholeLines {
  /** Hands on the lines that these bytes end. False when nobody reads any more. */
  write(bytes: Uint8Array): boolean
  /** Hands on what is left, as a line. */
  end(): void
}

/** A line that is longer than this is handed on in pieces: what a VMM writes has no bound. */
const LINE_MAX_BYTES = 64 * 1024

/** Hands on whole lines only, so that the lines of several files can be shown as one text, however their pieces fall. */
export function wholeLines(show: (lines: Uint8Array) => boolean): WholeLines {
  let rest = Buffer.alloc(0)
  return {
    write(bytes) {
      const all = Buffer.concat([rest, bytes])
      const end = all.lastIndexOf("\n") + 1
      const cut = end === 0 && all.length > LINE_MAX_BYTES ? all.length : end
      rest = all.subarray(cut)
      return cut === 0 || show(all.subarray(0, cut))
    },
    end() {
      if (rest.length > 0) show(Buffer.concat([rest, Buffer.from("\n")]))
      rest = Buffer.alloc(0)
    },
  }
}
