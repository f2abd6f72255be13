import { Failure } from "../../base/terms/failure.ts"

/** Where something is downloaded from: over the network, or from a file of this host. */
export type Address = { readonly url: URL } | { readonly file: string }

/**
 * Parses a place to download from: an https URL, a file: URL or an absolute path. Plain http is allowed for loopback
 * alone, where nobody is in between. Throws a failure that names the variable or option.
 */
export function parseAddress(text: string, named: string): Address {
  if (text.startsWith("/")) return { file: text }
  const url = URL.parse(text)
  // A wrong variable is a fault of the configuration, a wrong option one of the command line.
  const refused = (message: string, hint: string) =>
    new Failure(named.startsWith("BANGER_") ? "BAD_CONFIG" : "USAGE", message, { hint, subject: named })
  if (url === null)
    throw refused(`${named} is ${JSON.stringify(text)}`, "give an https URL, or the path of a file or directory")
  if (url.protocol === "file:") return { file: Bun.fileURLToPath(url) }
  if (url.protocol === "https:" || (url.protocol === "http:" && isLoopback(url))) return { url }
  throw refused(
    `${named} is ${text}, which anybody on the way could change`,
    "give an https URL; http is for loopback alone",
  )
}

/** A file below a place. */
export function below(place: Address, path: string): Address {
  if ("file" in place) return { file: `${place.file.replace(/\/+$/, "")}/${path}` }
  const url = new URL(place.url)
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/${path}`
  return { url }
}

/** Where a redirect leads; throws a failure unless that is https. */
export function redirected(from: URL, location: string | null): URL {
  const to = location === null ? null : URL.parse(location, from.href)
  if (to === null) throw notFetched(from, `${from.href} redirects to nowhere`)
  const same = to.protocol === from.protocol && to.host === from.host
  if (to.protocol === "https:" || (same && isLoopback(to))) return to
  throw notFetched(from, `${from.href} redirects to ${to.href}, which is not https`)
}

/** An address as messages show it. */
export function shownAddress(address: Address): string {
  return "file" in address ? address.file : address.url.href
}

// --- internal ---

function notFetched(from: URL, message: string): Failure {
  return new Failure("DOWNLOAD_FAILED", message, { hint: "nothing was downloaded", subject: from.href })
}

function isLoopback({ hostname }: URL): boolean {
  return hostname === "127.0.0.1" || hostname === "localhost" || hostname === "[::1]"
}
