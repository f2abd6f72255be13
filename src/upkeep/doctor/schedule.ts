import { shownText } from "../../base/terms/printable.ts"
import { type Finding, fail, ok } from "./finding.ts"
import type { Host } from "./host.ts"

/** Where cron and systemd look for what runs banger by itself. */
const CRON_FILES = ["/etc/crontab"]
const CRON_DIRECTORY = "/etc/cron.d"
const SPOOL_DIRECTORIES = ["/var/spool/cron/crontabs", "/var/spool/cron"]
const UNIT_DIRECTORIES = ["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"]

/** Whether what runs banger by itself, a line of cron's or a unit, still leads to a program. */
export function checkSchedule(host: Host): Finding {
  const user = host.env.HOME === undefined ? [] : [`${host.env.HOME}/.config/systemd/user`]
  const spooled = SPOOL_DIRECTORIES.flatMap((dir) => within(host, dir, () => true))
  // What others have cron run is theirs to mend.
  const own = spooled.filter((file) => statOf(host, file)?.uid === host.uid)
  const crons = [...CRON_FILES, ...within(host, CRON_DIRECTORY, () => true), ...own]
  const units = [...UNIT_DIRECTORIES, ...user].flatMap((dir) =>
    within(host, dir, (name) => /^banger.*\.service$/.test(name)),
  )
  const found = [
    ...crons.flatMap((file) => cronPrograms(text(host, file)).map((program) => ({ file, program, by: CRON }))),
    ...units.flatMap((file) => unitPrograms(text(host, file)).map((program) => ({ file, program, by: UNITS }))),
  ]
  const lost = found.find(({ program }) => host.stat(program) === undefined)
  if (lost !== undefined)
    return fail(
      `${shownText(lost.file)} runs ${shownText(lost.program)}, which is not there`,
      shownText(lost.by(lost.file, lost.program)),
    )
  if (found.length === 0) return ok("neither cron nor systemd runs banger by itself")
  return ok(
    `what runs banger by itself leads to it: ${[...new Set(found.map(({ program }) => shownText(program)))].join(", ")}`,
  )
}

// --- internal ---

/** The programs of a crontab's lines that sweep. Pure. */
function cronPrograms(crontab: string): readonly string[] {
  const lines = crontab.split("\n").filter((line) => !/^\s*#/.test(line))
  return lines.flatMap((line) => {
    const [, quoted, plain] =
      /(?:'(\/[^']*banger[^']*)'|(?<![\w='"/.-])(\/\S*banger\S*)) (?:sweep|system) /.exec(`${line} `) ?? []
    const program = quoted ?? plain
    return program === undefined ? [] : [program.replaceAll("\\%", "%")]
  })
}

/** The programs that a unit starts. Pure. */
function unitPrograms(unit: string): readonly string[] {
  const found = unit.matchAll(/^Exec(?:Start|Stop)=[-@:+!]*(?:"((?:[^"\\]|\\.)*)"|(\S+))/gm)
  const words = [...found].map(([, quoted, plain]) => quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "")
  return [...new Set(words.map((word) => word.replaceAll("%%", "%").replaceAll("$$", "$")))]
}

/** What only banger's own file is made of anew: others have more in theirs, and a user's own crontab has other columns. */
const CRON = (file: string, program: string) =>
  file === `${CRON_DIRECTORY}/banger`
    ? `banger system cron > ${file}`
    : `${file.startsWith("/var/") ? "run: crontab -e" : `edit ${file}`}, and have the line run what this names: command -v banger (not ${program})`
const UNITS = () => "banger system install"

function statOf(host: Host, file: string): { readonly uid: number } | undefined {
  try {
    return host.stat(file)
  } catch {
    return undefined
  }
}

function within(host: Host, dir: string, takes: (name: string) => boolean): readonly string[] {
  return (listed(host, dir) ?? []).filter((name) => takes(name)).map((name) => `${dir}/${name}`)
}

function listed(host: Host, dir: string): readonly string[] | undefined {
  try {
    return host.list(dir)
  } catch {
    // Only root reads the crontabs of all users.
    return undefined
  }
}

/** Empty for what is no file that can be read. */
function text(host: Host, file: string): string {
  try {
    return host.read(file) ?? ""
  } catch {
    return ""
  }
}
