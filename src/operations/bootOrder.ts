/** A VM that is to be started, and the names of those that it is to be started after. */
export interface Ordered<T> {
  readonly vm: T
  readonly name: string
  readonly after: readonly string[]
}

/** When a VM is started. */
export interface Place<T> {
  readonly vm: T
  /** The names of those, before it in the list, that are started first. */
  readonly waitsFor: readonly string[]
}

/**
 * The order in which VMs are started: each behind those that it is `after`, as far as they are started at all; apart from that in the
 * given order. Where some wait for each other, what closes the circle is left out, and named in `dropped`. Pure.
 */
export function bootOrder<T>(vms: readonly Ordered<T>[]): {
  readonly places: readonly Place<T>[]
  readonly dropped: readonly { readonly name: string; readonly after: string }[]
} {
  const byName = new Map(vms.map((vm) => [vm.name, vm]))
  const places: Place<T>[] = []
  const dropped: { name: string; after: string }[] = []
  const placed = new Set<string>()
  const begun = new Set<string>()
  const place = (each: Ordered<T>) => {
    begun.add(each.name)
    const waitsFor = new Set<string>()
    for (const name of each.after) {
      const before = byName.get(name)
      if (before === undefined) continue
      if (!begun.has(name)) place(before)
      if (placed.has(name)) waitsFor.add(name)
      else dropped.push({ name: each.name, after: name })
    }
    placed.add(each.name)
    places.push({ vm: each.vm, waitsFor: [...waitsFor] })
  }
  for (const each of vms) if (!begun.has(each.name)) place(each)
  return { places, dropped }
}
