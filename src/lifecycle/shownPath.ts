import { printablePath, printableText } from "../sockets/names.ts"

/** A reported path for a line on a terminal. */
export function shownPath(named: { readonly path: string; readonly path_base64?: string | undefined }): string {
  const { path, path_base64: bytes } = named
  return printablePath(bytes === undefined ? new TextEncoder().encode(path) : Buffer.from(bytes, "base64"))
}

/** Words of a report for a terminal. */
export const shownText: (text: string) => string = printableText
