import { unary } from './calls.js'
import { type Clock, momentOf, systemClock } from './core/clock.js'
import type { Principal } from './core/claims.js'
import { Knowledge } from './core/knowledge.js'
import { checkDemand, type Demand } from './demand.js'
import { connect, type Endpoint, type EndpointSettings } from './endpoints.js'
import {
  asOutage,
  CLOSED,
  type CountersignError,
  Invalid,
  REVOCATIONS_STALE,
  SIGNING_KEY_SECRET,
  Unauthenticated,
  Unavailable,
} from './errors.js'
import { Follower } from './follow.js'
import { milliseconds, type PrincipalMessage, type Timestamp, type VerifyResponse } from './messages.js'

/** Something that happened to a verifier, for metrics and logs. */
export type VerifierEvent =
  /** A replica is followed. */
  | { readonly kind: 'following'; readonly endpoint: string }
  /** The stream of a replica has ended. Another one is tried. */
  | { readonly kind: 'lost'; readonly endpoint: string; readonly error: Unavailable }
  | { readonly kind: 'keysChanged' }
  /** A token was accepted. */
  | { readonly kind: 'accepted' }
  /** A token was not accepted, or nothing could be said of it. */
  | { readonly kind: 'refused'; readonly error: CountersignError }
  /** The service is asked about a token, because nothing can be said of it here. */
  | { readonly kind: 'askedService' }

/** Settings of a verifier. Times are in milliseconds. */
export interface VerifierSettings extends EndpointSettings {
  /** The audience that tokens must have. Without, tokens for any service are accepted. */
  readonly audience?: string | undefined
  /** The issuer (claim `iss`). Without, it is what the service says. */
  readonly issuer?: string | undefined
  /** The bound: no token is accepted that was revoked longer ago. 10,000 unless set. */
  readonly maxStaleness?: number | undefined
  /** The grace past a token's expiry, of which whole seconds count; none unless set. */
  readonly leeway?: number | undefined
  /** The number of verified tokens that are remembered, so that their signatures are not verified again; 10,000 unless set. */
  readonly remembered?: number | undefined
  /** What becomes of tokens when too little is known here: `refuse` them as an outage, or `ask` the service. */
  readonly fallback?: 'refuse' | 'ask' | undefined
  /** A function that is told of what happens. It is called within `verify`, so it must not wait. */
  readonly onEvent?: ((event: VerifierEvent) => void) | undefined
  /** The clock; another one in tests. */
  readonly clock?: Clock | undefined
}

/** The time that the service has to answer about a token, in milliseconds. */
const ASKED_WITHIN = 2000

/** Verifies access tokens in this process. It follows the service from its construction until `close()`. */
export class Verifier {
  readonly #endpoints: readonly Endpoint[]
  readonly #knowledge: Knowledge
  readonly #follower: Follower
  readonly #clock: Clock
  readonly #settings: VerifierSettings
  readonly #waiting = new Set<() => void>()
  #closed = false

  /** Throws `Invalid` for settings that cannot be used. */
  constructor(settings: VerifierSettings) {
    const { audience, issuer, maxStaleness = 10_000, leeway = 0, remembered = 10_000 } = settings
    if (audience === '' || issuer === '') throw new Invalid('an audience or issuer that is empty is none')
    for (const [name, value] of Object.entries({ maxStaleness, leeway, remembered })) {
      if (!Number.isFinite(value) || value < 0) throw new Invalid(`${name} is no number of 0 or more`)
    }
    this.#settings = settings
    this.#clock = settings.clock ?? systemClock
    this.#endpoints = connect(settings)
    this.#knowledge = new Knowledge({ issuer, maxStaleness, leeway, remembered })
    this.#follower = new Follower(this.#knowledge, this.#endpoints, this.#clock, {
      following: (endpoint) => this.#tell({ kind: 'following', endpoint }),
      lost: (endpoint, error) => this.#tell({ kind: 'lost', endpoint, error }),
      keysChanged: () => this.#tell({ kind: 'keysChanged' }),
      changed: () => this.#waiting.forEach((look) => look()),
    })
    void this.#follower.run()
  }

  /**
   * Waits until tokens can be verified; with `fallback: 'ask'` that is at once. Throws `Unavailable` with SIGNING_KEY_SECRET for
   * a service that signs by HS256: it publishes no keys.
   */
  ready(): Promise<void> {
    if (this.#settings.fallback === 'ask') return Promise.resolve()
    return new Promise((resolve, reject) => {
      // Node would end while only pauses are waited for.
      const alive = setInterval(() => {}, 60_000)
      const look = () => {
        const { lack } = this.#knowledge
        const hopeless = lack?.reason === SIGNING_KEY_SECRET || this.#knowledge.isPoisoned
        if (lack !== undefined && !hopeless && !this.#closed) return
        this.#waiting.delete(look)
        clearInterval(alive)
        if (this.#closed) reject(new Unavailable(CLOSED))
        else if (lack !== undefined) reject(lack)
        else resolve()
      }
      this.#waiting.add(look)
      look()
    })
  }

  /** True if tokens can be verified at this moment, without asking the service. */
  get isFresh(): boolean {
    return !this.#closed && this.#knowledge.isFresh(momentOf(this.#clock))
  }

  /**
   * Verifies a token, and that it meets a demand. Throws `Unauthenticated`; `Forbidden` for a role that is missing; `Unavailable`
   * when nothing can be said.
   */
  async verify(token: string, demand?: Demand): Promise<Principal> {
    try {
      let principal: Principal
      try {
        principal = this.#inMemory(token, demand)
      } catch (error) {
        if (this.#settings.fallback !== 'ask' || this.#closed || !(error instanceof Unavailable)) throw error
        this.#tell({ kind: 'askedService' })
        principal = await this.#ask(token, demand)
      }
      checkDemand(demand, principal)
      this.#tell({ kind: 'accepted' })
      return principal
    } catch (error) {
      this.#tell({ kind: 'refused', error: error as CountersignError })
      throw error
    }
  }

  /** Verifies a token by what is known here, whatever the fallback is. Throws as `verify` does. */
  verifyNow(token: string, demand?: Demand): Principal {
    const principal = this.#inMemory(token, demand)
    checkDemand(demand, principal)
    return principal
  }

  /** Follows no more, and accepts no more. */
  close(): void {
    this.#closed = true
    this.#follower.close()
    for (const { client } of this.#endpoints) client.close()
    this.#waiting.forEach((look) => look())
  }

  #inMemory(token: string, demand: Demand | undefined): Principal {
    if (this.#closed) throw new Unavailable(CLOSED)
    return this.#knowledge.verify(token, demand?.audience || this.#settings.audience, momentOf(this.#clock))
  }

  /** Asks one replica after the other. */
  async #ask(accessToken: string, demand: Demand | undefined): Promise<Principal> {
    const audience = demand?.audience || this.#settings.audience || ''
    let last = new Unavailable(REVOCATIONS_STALE)
    for (const endpoint of this.#endpoints) {
      try {
        const within = ASKED_WITHIN / this.#endpoints.length
        const { principal } = await unary<VerifyResponse>(endpoint, 'verify', { accessToken, audience }, within)
        if (principal) return principalOf(principal)
      } catch (error) {
        // What is not about the token befell this service's own call.
        if (error instanceof Unauthenticated && error.reason.startsWith('TOKEN_')) throw error
        last = asOutage(error)
      }
    }
    throw last
  }

  #tell(event: VerifierEvent): void {
    // Whoever counts does not decide.
    const warn = (error: unknown) => process.emitWarning(error instanceof Error ? error : 'onEvent failed')
    try {
      const told: unknown = this.#settings.onEvent?.(event)
      if (told instanceof Promise) told.catch(warn)
    } catch (error) {
      warn(error)
    }
  }
}

function principalOf(message: PrincipalMessage): Principal {
  const { userId, sessionId, tokenId, roles, audience, username, issuedAt, expiresAt } = message
  const whole = (time: Timestamp | null) => (time ? Math.floor(milliseconds(time) / 1000) : 0)
  const [issued, expires] = [whole(issuedAt), whole(expiresAt)]
  return {
    userId,
    sessionId,
    tokenId,
    roles,
    audience,
    username: username || undefined,
    issuedAt: issued,
    expiresAt: expires,
  }
}
