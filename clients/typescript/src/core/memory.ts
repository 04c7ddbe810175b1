/**
 * Bounded memory, by text. It has two halves: what is asked for moves to the younger one, and when that is full the older is
 * dropped. So what is used stays, and a look costs one or two of a map.
 */
export class Memory<V> {
  readonly #half: number
  #young = new Map<string, V>()
  #old = new Map<string, V>()

  /** Room for about so many entries; none for 0. */
  constructor(capacity: number) {
    this.#half = Math.ceil(capacity / 2)
  }

  get(text: string): V | undefined {
    const young = this.#young.get(text)
    if (young !== undefined || this.#old.size === 0) return young
    const old = this.#old.get(text)
    if (old !== undefined) this.set(text, old)
    return old
  }

  set(text: string, value: V): void {
    if (this.#half === 0) return
    if (this.#young.size >= this.#half) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(text, value)
  }

  /** The number of entries; one that has moved may count twice. */
  get size(): number {
    return this.#young.size + this.#old.size
  }
}
