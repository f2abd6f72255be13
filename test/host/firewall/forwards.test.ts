import { expect, test } from "bun:test"
import type { Look } from "../../../src/host/firewall/blockers.ts"
import { findForwards } from "../../../src/host/firewall/forwards.ts"

const match = (protocol: string, field: string, right: string | number) => ({
  match: { op: "==", left: { payload: { protocol, field } }, right },
})
const rule = (table: string, ...expr: readonly object[]) => ({ rule: { family: "ip", table, chain: "c", expr } })
const dnat = { dnat: { addr: "172.17.0.2", port: 80 } }
const look = (rules: readonly object[], legacy = ""): Look => ({
  read: () => (legacy === "" ? undefined : "nat\n"),
  run: ([name = ""]) => ({ exit: 0, stdout: name === "nft" ? JSON.stringify({ nftables: rules }) : legacy }),
})

test("a port that was sent to one address is that one's, in either program's words", () => {
  const rules = [rule("nat", match("ip", "daddr", "127.0.0.1"), match("tcp", "dport", 8080), dnat)]
  expect(findForwards(look(rules))).toEqual([{ protocol: "tcp", address: "127.0.0.1", port: 8080, by: "table ip nat" }])
  const saved = [
    "-A DOCKER -d 127.0.0.1/32 ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
    "-A DOCKER ! -d 127.0.0.1/32 -p udp -m udp --dport 53 -j REDIRECT --to-ports 5353",
  ].join("\n")
  expect(findForwards(look([], saved)).map(({ protocol, address, port }) => ({ protocol, address, port }))).toEqual([
    { protocol: "tcp", address: "127.0.0.1", port: 8080 },
    { protocol: "udp", address: undefined, port: 53 },
  ])
})

test("a table of others whose name begins as banger's is theirs, a table of banger's is not", () => {
  const port = match("udp", "dport", 53)
  const others = ["banger-lan", "bangers", "banger_0123456"].map((table) => rule(table, port, dnat))
  const own = ["banger", "banger_01234567", "banger_ports", "banger_check"].map((table) => rule(table, port, dnat))
  expect(findForwards(look([...others, ...own])).map(({ by }) => by)).toEqual([
    "table ip banger-lan",
    "table ip bangers",
    "table ip banger_0123456",
  ])
})
