import {
  CLOCK_STEPPED,
  type CountersignError,
  ISSUER_MISMATCH,
  KEYS_UNREADABLE,
  REVOCATIONS_STALE,
  Unauthenticated,
  Unavailable,
  UNKNOWN_REVOCATION,
} from '../errors.js'
import { milliseconds, type RevocationMessage, type RevocationsMessage, type WatchRevocationsResponse } from '../messages.js'
import { MAX_BYTES, open } from './access-token.js'
import { check, identify, type Identity, isId, malformed, type Principal } from './claims.js'
import { ClockAhead, type Moment, seconds, since } from './clock.js'
import { type KeySet, readKeySet } from './keys.js'
import { ENTRY, Memory } from './memory.js'
import { RETENTION, type Revocation, Revocations } from './revocations.js'

/** Settings of what is accepted. Times are in milliseconds. */
export interface Acceptance {
  /** The issuer that is expected; undefined takes that of the service. */
  readonly issuer?: string | undefined
  /** The bound: older knowledge is refused. */
  readonly maxStaleness: number
  /** The grace past a token's expiry. */
  readonly leeway: number
  /** The number of verified tokens that are remembered. */
  readonly remembered: number
}

/** Bytes of the tokens that are refused, about. Anybody can send these, so they are few. */
const REFUSED = 4 * 1024 * 1024
/** Milliseconds by which the two clocks may run apart during a stream. */
const STEP = 1000
/** Revocations that are looked at after a message, for whether they are over. */
const LOOKED_AT = 5000
/** The time after which dead tokens are looked for among those that were accepted. */
const CLEAN_EACH = 60_000

/** The state of a stream: what it has said. */
export class Stream {
  /** The moment before the call was sent. */
  readonly began: Moment
  hasKeys = false
  readonly clock = new ClockAhead()

  constructor(began: Moment) {
    this.began = began
  }
}

/** Keys of an issuer, and what they have said of tokens: that goes with the keys, because one may be new, or killed. */
interface Keyed {
  readonly issuer: string
  readonly jwks: string
  readonly keys: KeySet
  readonly verified: Memory<Identity>
  /** Tokens that are refused for good, by the reason, and those that have expired or are revoked. */
  readonly refused: Memory<Identity | string>
}

/** Knowledge of keys and revocations, and how fresh it is. It reads no clock and does no I/O. */
export class Knowledge {
  readonly #settings: Acceptance
  readonly #revocations = new Revocations()
  #keyed: Keyed | undefined
  #completeAsOf: Moment | undefined
  /** Milliseconds by which the issuer's wall clock is ahead of this machine's. */
  #issuerAhead = 0
  #cleanedAt = 0
  #poisoned = false
  #lack: CountersignError | undefined = new Unavailable(REVOCATIONS_STALE)
  /** The last position of a stream: another one goes on from there. */
  position = ''

  constructor(settings: Acceptance) {
    this.#settings = settings
  }

  /** The reason for which nothing is known; undefined as soon as something is. */
  get lack(): CountersignError | undefined {
    return this.#lack
  }

  /** Says why nothing is known, if that is so. */
  lacks(error: CountersignError): void {
    if (this.#lack !== undefined) this.#lack = error
  }

  /** True when something was revoked that this version cannot read: no token is accepted any more. */
  get isPoisoned(): boolean {
    return this.#poisoned
  }

  /** The newest moment as of which everything is known, by the steady clock. */
  get completeAsOf(): number | undefined {
    return this.#completeAsOf?.steady
  }

  /** True if tokens can be verified at this moment. */
  isFresh(now: Moment): boolean {
    if (this.#poisoned || this.#keyed === undefined || this.#completeAsOf === undefined) return false
    return since(now, this.#completeAsOf) <= this.#settings.maxStaleness
  }

  /** Verifies a token, for an audience if one is given. Throws `Unauthenticated`, or `Unavailable` if nothing can be said. */
  verify(token: string, audience: string | undefined, now: Moment): Principal {
    const keyed = this.#keyed
    if (keyed === undefined) throw this.#lack ?? new Unavailable(REVOCATIONS_STALE)
    if (!this.isFresh(now)) throw new Unavailable(this.#poisoned ? UNKNOWN_REVOCATION : REVOCATIONS_STALE)
    if (typeof token !== 'string') throw malformed()
    const leeway = Math.floor(this.#settings.leeway / 1000)
    const byIssuer = seconds(now.wall + this.#issuerAhead)
    const identity = keyed.verified.get(token) ?? this.#read(keyed, token)
    try {
      check(identity, audience, leeway, byIssuer)
      this.#revocations.check(identity)
    } catch (error) {
      if (isDead(error)) {
        keyed.verified.delete(token)
        keyed.refused.set(token, identity)
      }
      throw error
    }
    return identity.principal
  }

  /** Reads a token and verifies its signature, and remembers both. */
  #read(keyed: Keyed, token: string): Identity {
    const known = keyed.refused.get(token)
    if (typeof known === 'string') throw new Unauthenticated(known)
    if (known !== undefined) return known
    try {
      const identity = identify(open(token, keyed.keys), keyed.issuer)
      keyed.verified.set(token, identity)
      return identity
    } catch (error) {
      if (error instanceof Unauthenticated && token.length <= MAX_BYTES) keyed.refused.set(token, error.reason)
      throw error
    }
  }

  /** Forgets the tokens that are dead, now and then. */
  #clean(now: Moment): void {
    if (now.steady - this.#cleanedAt < CLEAN_EACH) return
    this.#cleanedAt = now.steady
    const leeway = Math.floor(this.#settings.leeway / 1000)
    const byIssuer = seconds(now.wall + this.#issuerAhead)
    this.#keyed?.verified.retain((identity) => {
      try {
        check(identity, undefined, leeway, byIssuer)
        this.#revocations.check(identity)
        return true
      } catch {
        return false
      }
    })
  }

  /**
   * Takes in a message of a stream. Throws `Unavailable` when the stream has to be given up. Says whether keys have changed.
   */
  hear(stream: Stream, message: WatchRevocationsResponse, now: Moment): { keysChanged: boolean } {
    if (this.#poisoned) throw new Unavailable(UNKNOWN_REVOCATION)
    let keysChanged = false
    if (message.event === 'keys' && message.keys) {
      keysChanged = this.#takeKeys(message.keys)
      stream.hasKeys = true
    } else if (message.event === 'snapshot' && message.snapshot) {
      this.#apply(message.snapshot, now)
    } else if (message.event === 'additions' && message.additions) {
      this.#apply(message.additions, now)
    } else if (message.event === 'heartbeat' && message.heartbeat && stream.hasKeys) {
      const { completeAsOf, sentAt } = message.heartbeat
      // The clocks ran apart: the machine slept, or one was set. What is counted from the call of this stream means nothing then.
      const apart = now.wall - stream.began.wall - (now.steady - stream.began.steady)
      if (Math.abs(apart) > STEP) throw new Unavailable(CLOCK_STEPPED)
      if (sentAt) this.#issuerAhead = stream.clock.hear(milliseconds(sentAt), now)
      const after = completeAsOf ? milliseconds(completeAsOf) : 0
      const { steady, wall } = stream.began
      // Nothing is known of what is to come.
      this.#publish({ steady: Math.min(steady + after, now.steady), wall: Math.min(wall + after, now.wall) })
      this.#revocations.evict(now, LOOKED_AT)
      this.#clean(now)
    }
    return { keysChanged }
  }

  #takeKeys({ jwks, issuer }: { jwks: string; issuer: string }): boolean {
    const expected = this.#settings.issuer
    if (expected !== undefined && expected !== issuer) throw new Unavailable(ISSUER_MISMATCH)
    if (this.#keyed?.issuer === issuer && this.#keyed.jwks === jwks) return false
    const keys = readKeySet(jwks)
    if (keys === undefined) throw new Unavailable(KEYS_UNREADABLE)
    const { remembered } = this.#settings
    // Tokens of the usual length all have room.
    const verified = new Memory<Identity>(remembered, Math.max(remembered, 16) * 2 * ENTRY)
    this.#keyed = { issuer, jwks, keys, verified, refused: new Memory(REFUSED / ENTRY, REFUSED) }
    return true
  }

  #apply({ revocations, position }: RevocationsMessage, now: Moment): void {
    const read = revocations.map((message) => readRevocation(message, now))
    if (read.includes(undefined)) {
      // The contract: no token is accepted until a version runs that knows what was meant.
      this.#poisoned = true
      this.#lack = new Unavailable(UNKNOWN_REVOCATION)
      throw this.#lack
    }
    for (const revocation of read) if (revocation) this.#revocations.apply(revocation, now)
    if (position !== '') this.position = position
  }

  /** All that was acknowledged before a moment is known. */
  #publish(asOf: Moment): void {
    // Another replica may know less: what is known is never forgotten.
    if (this.#completeAsOf === undefined || asOf.steady > this.#completeAsOf.steady) this.#completeAsOf = asOf
    this.#lack = undefined
  }
}

function isDead(error: unknown): boolean {
  return error instanceof Unauthenticated && (error.reason === 'TOKEN_EXPIRED' || error.reason === 'TOKEN_REVOKED')
}

/** Reads a revocation; undefined for one that cannot be read. */
function readRevocation(message: RevocationMessage, now: Moment): Revocation | undefined {
  // A second later: what it has beyond whole seconds is not lost.
  const end = message.expiresAt ? (Number(message.expiresAt.seconds) + 1) * 1000 : now.wall + RETENTION
  const expiresAt = Number.isFinite(end) ? end : now.wall + RETENTION
  if (message.subject === 'sessionId' && message.sessionId !== undefined) {
    return isId(message.sessionId) ? { subject: { kind: 'session', id: message.sessionId }, expiresAt } : undefined
  }
  if (message.subject === 'user' && message.user) {
    const { userId, leastEpoch } = message.user
    return isId(userId) ? { subject: { kind: 'user', id: userId, leastEpoch: BigInt(leastEpoch) }, expiresAt } : undefined
  }
  if (message.subject === 'openedBefore' && message.openedBefore) {
    const moment = Number(message.openedBefore.seconds)
    return moment >= 0 ? { subject: { kind: 'openedBefore', seconds: moment }, expiresAt } : undefined
  }
  return undefined
}
