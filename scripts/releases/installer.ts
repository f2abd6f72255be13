/** What a release writes into install.sh. */
export interface Filling {
  readonly releases: string
  /** The public key as OpenSSH and as OpenSSL write it; empty for a release that nobody signs. */
  readonly ssh: string
  readonly pem: string
}

/** install.sh with the release's values filled in. Throws when the script has no place for one. Pure. */
export function fillIn(script: string, { releases, ssh, pem }: Filling): string {
  const lines = { default_releases: releases, ssh_key: ssh, pem_key: pem }
  let filled = script
  for (const [name, value] of Object.entries(lines)) {
    if (/['\n]/.test(value)) throw new Error(`${name} cannot be ${JSON.stringify(value)}`)
    const empty = `\n${name}=''\n`
    if (!filled.includes(empty)) throw new Error(`install.sh has no empty ${name}`)
    filled = filled.replace(empty, () => `\n${name}='${value}'\n`)
  }
  return filled
}
