import { expect, test } from "bun:test"
import { join } from "node:path"
import { causeOf, databaseTrouble } from "../../../src/store/files/databaseTrouble.ts"
import { openDatabase } from "../../../src/store/state/database.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const sqlite = (code: string) => Object.assign(new Error(code), { code })

test.each([
  ["SQLITE_BUSY", "BUSY", "fuser -v /s/state.db"],
  ["SQLITE_BUSY_SNAPSHOT", "BUSY", "try again"],
  ["SQLITE_LOCKED", "BUSY", "fuser"],
  ["SQLITE_FULL", "NO_SPACE", "df /s"],
  ["ENOSPC", "NO_SPACE", "df /s"],
  ["EDQUOT", "NO_SPACE", "df /s"],
  ["SQLITE_READONLY", "NO_SPACE", "read-only"],
  ["EROFS", "NO_SPACE", "findmnt -T /s"],
  ["SQLITE_READONLY_DIRECTORY", "NO_SPACE", "findmnt"],
  ["SQLITE_CORRUPT", "BAD_STATE", ".recover"],
  ["SQLITE_NOTADB", "BAD_STATE", "cp -a"],
  ["SQLITE_CANTOPEN", "BAD_STATE", "ulimit -n"],
  ["SQLITE_PERM", "BAD_STATE", "ls -ld /s"],
  ["SQLITE_IOERR_READ", "BAD_STATE", "dmesg"],
  ["SQLITE_IOERR_SHMSIZE", "NO_SPACE", "df /s"],
  ["EMFILE", "HOST_LACKS", "ulimit -n 1024"],
  ["ENFILE", "HOST_LACKS", "sysctl fs.file-nr"],
  ["SQLITE_NOMEM", "HOST_LACKS", "free -m"],
  ["SQLITE_MISUSE", "BAD_STATE", "ls -l /s/state.db"],
])("%s is %s, with a hint for just that", (code, ours, hint) => {
  const cause = causeOf(sqlite(code), "/s/state.db")
  expect(cause).toEqual({ code: ours as typeof cause.code, hint: expect.stringContaining(hint) })
  // Nobody is told to look at the space for what has nothing to do with it.
  if (ours !== "NO_SPACE") expect(cause.hint).not.toContain("df ")
})

test("what is to be typed is typed so that a shell takes it, wherever the state is", () => {
  const path = "/srv/my vms; it's/state.db"
  for (const code of ["BUSY", "FULL", "READONLY", "CORRUPT", "CANTOPEN", "IOERR_READ", "MISUSE"]) {
    const { hint } = causeOf(sqlite(`SQLITE_${code}`), path)
    expect(hint).toContain("'/srv/my vms; it'\\''s")
    expect(hint.replaceAll(/'\/srv\/my vms; it'\\''s(?:\/state\.db)?'/g, "")).not.toContain("/srv")
  }
})

test("a database that another process holds names that process, and is to be tried later", async () => {
  const path = join(directory.path, "state.db")
  openDatabase(directory.path).close()
  const code = `
    import { Database } from "bun:sqlite"
    const db = new Database(${JSON.stringify(path)})
    db.run("begin immediate")
    db.run("insert into stops values ('x', 0)")
    console.log("has it")
    setInterval(() => db.filename, 1000)`
  const child = Bun.spawn([process.execPath, "-e", code], { stdout: "pipe" })
  await using _ = { [Symbol.asyncDispose]: () => end(child) }
  const { value } = await child.stdout.getReader().read()
  expect(new TextDecoder().decode(value)).toBe("has it\n")
  const failure = databaseTrouble(path, "cannot be written", sqlite("SQLITE_BUSY"))
  expect(failure).toMatchObject({ code: "BUSY", exit: 75 })
  expect(failure.message).toContain(`held by process ${child.pid}`)
})

async function end(child: Bun.Subprocess): Promise<void> {
  child.kill("SIGKILL")
  await child.exited
}
