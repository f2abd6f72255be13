// A file has two names: the one that this host uses, and the one that a VMM in its jail uses. They are strings of two
// types, so that the compiler refuses one where the other is meant. Only the functions here lead from one to the other.

declare const VIEW: unique symbol

/** An absolute path as this host sees it. */
export type HostPath = string & { readonly [VIEW]: "host" }

/** An absolute path as the VMM sees it once it is in its jail. Without a jail this is the host's own. */
export type JailPath = string & { readonly [VIEW]: "jail" }

/** One file by both its names. */
export interface Placed {
  readonly host: HostPath
  readonly jail: JailPath
}

/** Takes a text for a path of this host. Throws when it is not absolute. */
export function hostPath(text: string): HostPath {
  return absolute(text) as HostPath
}

/** Takes a text for a path that a VMM sees. Throws when it is not absolute. */
export function jailPath(text: string): JailPath {
  return absolute(text) as JailPath
}

/** The file that has this relative name in the jail whose root is `root`. Pure. */
export function inJail(root: HostPath, name: string): Placed {
  return { host: hostPath(`${root}/${name}`), jail: jailPath(`/${name}`) }
}

/** A file for a VMM without a jail: both its names are the same. Pure. */
export function withoutJail(path: HostPath): Placed {
  return { host: path, jail: jailPath(path) }
}

/** What this host calls the file that a VMM calls `path`; `root` is its jail's, undefined without a jail. Pure. */
export function seenFromHost(path: JailPath, root: HostPath | undefined): HostPath {
  return hostPath(root === undefined ? path : `${root}${path}`)
}

// --- internal ---

function absolute(text: string): string {
  if (!text.startsWith("/")) throw new Error(`${JSON.stringify(text)} is not an absolute path`)
  return text
}
