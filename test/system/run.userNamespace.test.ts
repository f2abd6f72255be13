import { expect, test } from "bun:test"
import { fixture, start } from "./support/banger.ts"
import { firecrackersOfFile } from "./support/firecrackers.ts"
import { eachInItsPlace, records } from "./support/place.ts"
import { doubleWords } from "./support/vms.ts"

const [double] = firecrackersOfFile()
const place = eachInItsPlace()

/** Root of a user namespace with these ids, as LXD and rootless podman make them: it waits until both maps are written. */
function inside(map: string, args: readonly string[]) {
  const script = `
    mkfifo "$1/go.$$"; go=$1/go.$$; map=$2; shift 2
    unshare --user --mount --net sh -c 'read line < "$0"; exec "$@"' "$go" "$@" &
    until [ "$(readlink /proc/$!/ns/user)" != "$(readlink /proc/self/ns/user)" ]; do :; done
    printf "$map" > /proc/$!/uid_map; printf "$map" > /proc/$!/gid_map
    echo > "$go"; wait $!; status=$?; rm "$go"; exit $status`
  return start(place, args, double?.env ?? {}, { through: ["sh", "-c", script, "sh", place.dir, map] }).ended
}

const CONTAINER = "0 0 1\\n1 300000 65535\\n"

test("root of a user namespace runs VMs by the ids that are mapped; with too few it is refused before there is a record", async () => {
  const words = ["run", "--vmm=qemu", fixture("guest"), "--", "echo guest says up", JSON.stringify({ accel: "tcg" })]
  const ran = await inside(CONTAINER, words)
  expect({ ran, records: records(place) }).toMatchObject({
    ran: { exit: 0, stdout: expect.stringContaining("guest says up") },
  })
  const doctor = await inside(CONTAINER, ["doctor", "--json"])
  expect(doctor.stdout).toContain("with uids from 30000 to 59999")
  expect((await inside(CONTAINER, ["rm", "--all"])).exit).toBe(0)
  const refused = await inside("0 0 1\\n", words)
  expect(refused.stderr).toContain("this user namespace maps no 16 uids and gids")
  expect({ exit: refused.exit, records: records(place) }).toEqual({ exit: 1, records: [] })
  // Firecracker's jailer makes device nodes, which only the host's root may.
  const nodes = await inside(CONTAINER, doubleWords(place, [], "RESET PRINT[up]"))
  expect(nodes.stderr).toContain("cannot make device nodes as root of a user namespace")
  expect({ exit: nodes.exit, records: records(place) }).toEqual({ exit: 1, records: [] })
  expect((await inside(CONTAINER, doubleWords(place, [], "RESET PRINT[up]", { jail: false }))).exit).toBe(0)
})

test("root of a user namespace that maps all ids is none of the host's either", async () => {
  const whole = "0 0 4294967295\\n"
  const nodes = await inside(whole, doubleWords(place, [], "RESET PRINT[up]"))
  expect(nodes.stderr).toContain("cannot make device nodes as root of a user namespace")
  expect({ exit: nodes.exit, records: records(place) }).toEqual({ exit: 1, records: [] })
})
