import { Unauthenticated } from '../errors.js'
import { type Identity, LONGEST_LIFE } from './claims.js'
import type { Moment } from './clock.js'

/** One revocation: the tokens that are dead, and until when, in milliseconds since 1970, one could otherwise be accepted. */
export interface Revocation {
  readonly subject:
    | { readonly kind: 'session'; readonly id: string }
    | { readonly kind: 'user'; readonly id: string; readonly leastEpoch: bigint }
    | { readonly kind: 'openedBefore'; readonly seconds: number }
  readonly expiresAt: number
}

/** The time for which a revocation is kept, in milliseconds: no clock accepts a token that it matches after that. */
export const RETENTION = 3 * 3600 * 1000

/** The time for which an entry stays: until its end by the wall clock, and for the whole retention by the steady one. */
interface Lifetime {
  until: number
  appliedAt: number
}

/** The revocations that are known. They only ever become more, until no token can match them. */
export class Revocations {
  readonly #sessions = new Map<string, Lifetime>()
  readonly #users = new Map<string, { least: bigint; lifetime: Lifetime }>()
  #openedBefore: { moment: number; lifetime: Lifetime } | undefined
  /**
   * The latest end of an entry that was forgotten, in seconds since 1970. Tokens that it could have matched are refused, so that a
   * wall clock that steps back revives nothing.
   */
  #forgottenUntil = 0
  #walk = this.#entries()

  /** The number of entries. */
  get size(): number {
    return this.#sessions.size + this.#users.size + (this.#openedBefore ? 1 : 0)
  }

  /** Adds a revocation. Adding one twice changes nothing. */
  apply({ subject, expiresAt }: Revocation, now: Moment): void {
    const fresh: Lifetime = { until: expiresAt, appliedAt: now.steady }
    if (subject.kind === 'session') {
      this.#sessions.set(subject.id, longer(this.#sessions.get(subject.id), fresh))
    } else if (subject.kind === 'user') {
      const known = this.#users.get(subject.id)
      const least = known && known.least > subject.leastEpoch ? known.least : subject.leastEpoch
      this.#users.set(subject.id, { least, lifetime: longer(known?.lifetime, fresh) })
    } else {
      const moment = Math.max(this.#openedBefore?.moment ?? 0, subject.seconds)
      this.#openedBefore = { moment, lifetime: longer(this.#openedBefore?.lifetime, fresh) }
    }
  }

  /** Passes if no revocation matches the token. */
  check({ principal, epoch, openedAt }: Identity): void {
    const user = this.#users.get(principal.userId)
    const ended =
      this.#sessions.has(principal.sessionId) ||
      (user !== undefined && epoch < user.least) ||
      (this.#openedBefore !== undefined && openedAt < this.#openedBefore.moment)
    if (ended) throw new Unauthenticated('TOKEN_REVOKED')
    // A session that was revoked has no token that was issued later than that, even by another clock.
    const issuedBefore = this.#forgottenUntil - LONGEST_LIFE
    if (principal.expiresAt < this.#forgottenUntil && principal.issuedAt < issuedBefore) {
      throw new Unauthenticated('TOKEN_EXPIRED')
    }
  }

  /** Forgets what is over by both clocks, among the next `count` entries: nobody waits until all have been looked at. */
  evict(now: Moment, count: number): void {
    for (let looked = 0; looked < count; looked += 1) {
      const { done, value } = this.#walk.next()
      if (done) {
        this.#walk = this.#entries()
        return
      }
      const { lifetime, forget } = value
      if (lifetime.until <= now.wall && now.steady - lifetime.appliedAt >= RETENTION) {
        this.#forgottenUntil = Math.max(this.#forgottenUntil, Math.ceil(lifetime.until / 1000))
        forget()
      }
    }
  }

  *#entries(): Generator<{ lifetime: Lifetime; forget: () => void }, void> {
    for (const [id, lifetime] of this.#sessions) yield { lifetime, forget: () => this.#sessions.delete(id) }
    for (const [id, { lifetime }] of this.#users) yield { lifetime, forget: () => this.#users.delete(id) }
    if (this.#openedBefore) {
      yield { lifetime: this.#openedBefore.lifetime, forget: () => (this.#openedBefore = undefined) }
    }
  }
}

function longer(known: Lifetime | undefined, fresh: Lifetime): Lifetime {
  if (known === undefined) return fresh
  const { until, appliedAt } = known
  return { until: Math.max(until, fresh.until), appliedAt: Math.max(appliedAt, fresh.appliedAt) }
}
