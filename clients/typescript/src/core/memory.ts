/** Bytes of an entry beside its text, about. */
export const ENTRY = 1024

/**
 * Memory by text, bounded in number and in bytes. It has two halves: what is asked for moves to the younger one, and when that is
 * full the older is dropped. So what is used stays, and a look costs one or two of a map.
 */
export class Memory<V> {
  readonly #entries: number
  readonly #bytes: number
  #young = new Map<string, V>()
  #youngBytes = 0
  #old = new Map<string, V>()

  /** Room for about so many entries, and bytes; none for 0. */
  constructor(entries: number, bytes: number) {
    this.#entries = Math.ceil(entries / 2)
    this.#bytes = Math.floor(bytes / 2)
  }

  get(text: string): V | undefined {
    const young = this.#young.get(text)
    if (young !== undefined || this.#old.size === 0) return young
    const old = this.#old.get(text)
    if (old !== undefined) this.set(text, old)
    return old
  }

  set(text: string, value: V): void {
    const bytes = text.length + ENTRY
    if (this.#entries === 0 || bytes > this.#bytes) return
    if (!this.#young.has(text)) {
      if (this.#young.size >= this.#entries || this.#youngBytes + bytes > this.#bytes) {
        this.#old = this.#young
        this.#young = new Map()
        this.#youngBytes = 0
      }
      this.#youngBytes += bytes
    }
    this.#young.set(text, value)
  }

  delete(text: string): void {
    this.#old.delete(text)
    if (this.#young.delete(text)) this.#youngBytes -= text.length + ENTRY
  }

  /** Forgets all entries but those that are kept. */
  retain(isKept: (value: V) => boolean): void {
    for (const half of [this.#young, this.#old]) {
      for (const [text, value] of half) if (!isKept(value)) this.delete(text)
    }
  }

  /** The number of entries; one that has moved may count twice. */
  get size(): number {
    return this.#young.size + this.#old.size
  }
}
