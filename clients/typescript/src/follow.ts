import type { ClientReadableStream, ServiceError } from '@grpc/grpc-js'
import { jittered } from './calls.js'
import { type Clock, momentOf } from './core/clock.js'
import { type Knowledge, Stream } from './core/knowledge.js'
import type { Endpoint } from './endpoints.js'
import { asOutage, CLOSED, SILENT, STREAM_ENDED, Unavailable } from './errors.js'
import type { WatchRevocationsResponse } from './messages.js'
import { errorOf } from './status.js'

/** The longest time without a word from a replica, in milliseconds: it heartbeats each second. */
const SILENCE = 3000
/** Pauses between two attempts, once all replicas were tried in vain. */
const LEAST_PAUSE = 50
const LONGEST_PAUSE = 1000

/** What is told of a follower. */
export interface Told {
  following(endpoint: string): void
  lost(endpoint: string, error: Unavailable): void
  keysChanged(): void
  /** Something was heard, or cannot be heard. */
  changed(): void
}

type Call = ClientReadableStream<WatchRevocationsResponse>

/** The follower: hears of keys and revocations from one replica at a time, and goes to another when that one is silent. */
export class Follower {
  readonly #knowledge: Knowledge
  readonly #endpoints: readonly Endpoint[]
  readonly #clock: Clock
  readonly #told: Told
  #closed = false
  #call: Call | undefined
  #wake: (() => void) | undefined

  constructor(knowledge: Knowledge, endpoints: readonly Endpoint[], clock: Clock, told: Told) {
    this.#knowledge = knowledge
    this.#endpoints = endpoints
    this.#clock = clock
    this.#told = told
  }

  /** Follows until it is closed. */
  async run(): Promise<void> {
    const count = this.#endpoints.length
    let next = Math.floor(Math.random() * count)
    let [pause, failed] = [LEAST_PAUSE, 0]
    while (!this.#closed && !this.#knowledge.isPoisoned) {
      const endpoint = this.#endpoints[next]
      if (endpoint === undefined) return
      const before = this.#knowledge.completeAsOf ?? -Infinity
      const error = asOutage(await this.#stream(endpoint).catch((error: unknown) => error))
      if (this.#closed) return
      this.#knowledge.lacks(error)
      this.#told.lost(endpoint.name, error)
      this.#told.changed()
      next = (next + 1) % count
      if ((this.#knowledge.completeAsOf ?? -Infinity) > before) {
        ;[pause, failed] = [LEAST_PAUSE, 0]
        // All who followed a replica that has stopped do not come to the next at one moment.
        await this.#sleep(jittered(LEAST_PAUSE))
        continue
      }
      failed += 1
      if (failed % count === 0) {
        await this.#sleep(jittered(pause))
        pause = Math.min(pause * 2, LONGEST_PAUSE)
      }
    }
  }

  close(): void {
    this.#closed = true
    this.#call?.cancel()
    this.#wake?.()
  }

  /** Follows one replica until the stream ends; says why it did. */
  async #stream({ name, client, metadata }: Endpoint): Promise<Unavailable> {
    const stream = new Stream(momentOf(this.#clock))
    const methods = client as unknown as { watchRevocations(request: object, m: typeof metadata): Call }
    const call = methods.watchRevocations({ position: this.#knowledge.position }, metadata)
    this.#call = call
    return new Promise((resolve) => {
      let followed = false
      const silence = setTimeout(() => end(new Unavailable(SILENT)), SILENCE)
      silence.unref()
      const end = (error: Unavailable) => {
        clearTimeout(silence)
        call.removeListener('data', hear)
        call.cancel()
        resolve(error)
      }
      const hear = (message: WatchRevocationsResponse) => {
        silence.refresh()
        try {
          const { keysChanged } = this.#knowledge.hear(stream, message, momentOf(this.#clock))
          if (keysChanged) this.#told.keysChanged()
        } catch (error) {
          end(asOutage(error))
          return
        }
        if (!followed && message.event === 'heartbeat') {
          followed = true
          this.#told.following(name)
        }
        this.#told.changed()
      }
      call.on('data', hear)
      call.on('end', () => end(new Unavailable(this.#closed ? CLOSED : STREAM_ENDED)))
      call.on('error', (error: ServiceError) => end(asOutage(errorOf(error))))
    })
  }

  #sleep(pause: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, pause)
      timer.unref()
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}
