import { beforeAll } from "bun:test"
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { buildFixture } from "./doubles.ts"
import { requireOwnNamespaces } from "./namespace.ts"
import type { Place } from "./place.ts"

/** A user of the host that is made for a file's tests. */
export interface User {
  readonly name: string
  readonly uid: number
  readonly home: string
}

/** Users who may run banger's helper by sudo without a password, and one who may not. */
export interface Sudoers {
  readonly ann: User
  readonly bob: User
  readonly eve: User
  /** The banger that sudo runs. */
  readonly program: string
  /** Whether it is the real sudo. */
  readonly real: boolean
}

const BIN = "/run/bin"

/**
 * Makes a file's tests a host with users: an /etc, a /run and a /var of their own, sudo (the host's, or a stand-in that does for
 * banger's helper what sudo does), and banger where all can run it. Call it outside of the tests, before all that makes directories.
 */
export function hostWithSudoers(): Sudoers {
  const real = existsSync("/usr/bin/sudo")
  const user = (name: string, uid: number): User => ({ name, uid, home: `/run/home/${name}` })
  const host = {
    ann: user("ann", 4242),
    bob: user("bob", 4243),
    eve: user("eve", 4244),
    program: join(BIN, "banger"),
    real,
  }
  beforeAll(() => {
    requireOwnNamespaces()
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    mkdirSync("/run/etc")
    run("cp", "-a", "/etc/.", "/run/etc")
    run("mount", "--bind", "/run/etc", "/etc")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var")
    mkdirSync(BIN)
    copyFileSync(join(import.meta.dir, "../../../dist/banger"), host.program)
    run("chmod", "755", host.program)
    for (const { name, uid, home } of [host.ann, host.bob, host.eve]) {
      appendFileSync("/etc/passwd", `${name}:x:${uid}:${uid}::${home}:/bin/sh\n`)
      appendFileSync("/etc/group", `${name}:x:${uid}:\n`)
      mkdirSync(join(home, "run"), { recursive: true })
      run("chown", "-R", `${uid}:${uid}`, home)
      run("chmod", "700", home, join(home, "run"))
    }
    // A group that gives ann a file.
    appendFileSync("/etc/group", "annsfriends:x:4300:ann\n")
    if (real) letSudo(host)
    else {
      buildFixture("sudo", BIN)
      run("chmod", "4755", join(BIN, "sudo"))
      writeFileSync("/etc/banger-sudoers", `ann ${host.program} __helper\nbob ${host.program} __helper\n`)
    }
  })
  return host
}

/**
 * Has root's banger, whose environment sudo leaves empty, use this test's place: /var/lib is a symlink to it, so that what is told
 * apart by its path bears the place's own. Forgets what users had before.
 */
export function useRootsPlaces(place: Place, { ann, bob, eve, program }: Sudoers): void {
  const lib = join(place.dir, "lib")
  mkdirSync(lib)
  chmodSync(place.dir, 0o711)
  rmSync("/var/lib", { force: true })
  symlinkSync(lib, "/var/lib")
  rmSync("/run/banger", { recursive: true, force: true })
  for (const { home } of [ann, bob, eve])
    for (const name of [".local", "work"]) rmSync(join(home, name), { recursive: true, force: true })
  Object.assign(place, { state: join(lib, "banger"), runtime: "/run/banger", program: [program] })
}

/** The words that run a command as a user of the host, with the groups and the environment of a login. */
export function asUser({ uid, home }: User, env: Readonly<Record<string, string>> = {}): readonly string[] {
  const given = { HOME: home, XDG_RUNTIME_DIR: join(home, "run"), PATH: `${BIN}:/usr/bin:/bin`, ...env }
  const words = Object.entries(given).map(([name, value]) => `${name}=${value}`)
  return ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--init-groups", "env", "-i", ...words]
}

/** Has a file be a user's, with this mode. */
export function give(user: User, path: string, mode = "644"): string {
  run("chown", `${user.uid}:${user.uid}`, path)
  run("chmod", mode, path)
  return path
}

// --- internal ---

/** As Debian has them. */
const DEFAULTS = `Defaults env_reset
Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
Defaults use_pty
`

function letSudo({ program }: Sudoers): void {
  writeFileSync("/etc/sudoers", `${DEFAULTS}ann,bob ALL=(root) NOPASSWD: ${program} __helper\n`, {
    mode: 0o440,
  })
  writeFileSync(
    "/etc/pam.d/sudo",
    "auth required pam_deny.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
  )
}

function run(...words: readonly string[]): void {
  const { exitCode, stderr } = Bun.spawnSync([...words])
  if (exitCode !== 0) throw new Error(`${words.join(" ")}: ${stderr}`)
}
