/** Cuts bytes that come in pieces into lines of text. What is not UTF-8 becomes U+FFFD. */
export interface LineCutter {
  /** The lines that end in these bytes. */
  cut(bytes: Uint8Array): string[]
  /** The beginning of a line whose end has not come; it is given once. Empty when there is none. */
  takeRest(): string
  /** How long that beginning is, in characters. */
  readonly restLength: number
}

/** A cutter of lines, however the pieces fall. */
export function lineCutter(): LineCutter {
  const decoder = new TextDecoder()
  let rest = ""
  return {
    cut(bytes) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n")
      rest = lines.pop() ?? ""
      return lines
    },
    takeRest() {
      const last = rest + decoder.decode()
      rest = ""
      return last
    },
    get restLength() {
      return rest.length
    },
  }
}
