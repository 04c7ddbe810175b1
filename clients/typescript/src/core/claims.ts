import { Unauthenticated } from '../errors.js'
import { asInteger, asText, asTexts, type Members } from './strict-json.js'

/** The user and session of a valid access token. */
export interface Principal {
  /** The user's id. */
  readonly userId: string
  /** The session's id. */
  readonly sessionId: string
  /** The token's id (claim `jti`). */
  readonly tokenId: string
  /** The user's roles when the token was issued. */
  readonly roles: readonly string[]
  /** The services that the token is for. */
  readonly audience: readonly string[]
  /** The user's name, where tokens say it. */
  readonly username: string | undefined
  /** The moment at which the token was issued, in seconds since 1970. */
  readonly issuedAt: number
  /** The moment at which it expires, in seconds since 1970. */
  readonly expiresAt: number
}

/** The principal of a token, and what of its claims is compared at each look. */
export interface Identity {
  readonly principal: Principal
  /** The user's epoch at the issue. */
  readonly epoch: bigint
  /** The time when the session was opened, in seconds since 1970. */
  readonly openedAt: number
  /** The moment before which the token is not valid, in seconds since 1970. */
  readonly startsAt: number
}

/** The longest lifetime that an access token may have, in seconds. */
export const LONGEST_LIFE = 3600
/** The most seconds by which the clock of the replica that issued a token may be ahead. */
const ISSUED_AHEAD = 60
/** The largest integer that every JSON reader keeps exactly (RFC 8259 section 6). */
const MAX_DATE = 2n ** 53n
const LEAST_EPOCH = -(2n ** 63n)
const MOST_EPOCH = 2n ** 63n - 1n
const CANONICAL_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** True for the canonical form of a UUID alone: 36 characters, lower case, with hyphens. */
export function isId(text: string): boolean {
  return CANONICAL_ID.test(text)
}

/** Reads claims: everything that does not depend on the time. Throws for those that are not whole. */
export function identify(claims: Members, issuer: string): Identity {
  const text = (name: string) => present(asText(claims.get(name)))
  const date = (name: string) => dateOf(asInteger(claims.get(name)))
  const [userId, sessionId, tokenId] = [text('sub'), text('sid'), text('jti')]
  const [expiresAt, issuedAt, openedAt] = [date('exp'), date('iat'), date('auth_time')]
  const startsAt = claims.has('nbf') ? Math.max(date('nbf'), issuedAt) : issuedAt
  const epoch = present(asInteger(claims.get('epoch')))
  const audience = claims.get('aud')
  const name = claims.get('preferred_username')
  const sound =
    text('iss') === issuer &&
    tokenId !== '' &&
    text('client_id') !== '' &&
    isId(userId) &&
    isId(sessionId) &&
    issuedAt <= expiresAt &&
    expiresAt - issuedAt <= LONGEST_LIFE &&
    epoch >= LEAST_EPOCH &&
    epoch <= MOST_EPOCH
  if (!sound) throw malformed()
  const principal: Principal = Object.freeze({
    userId,
    sessionId,
    tokenId,
    roles: Object.freeze(present(asTexts(claims.get('roles')))),
    audience: Object.freeze(audience?.[0] === '"' ? [text('aud')] : present(asTexts(audience))),
    username: name === undefined || name === 'null' ? undefined : text('preferred_username'),
    issuedAt,
    expiresAt,
  })
  return { principal, epoch, openedAt, startsAt }
}

/** Checks everything that depends on the time and on what is asked for, `now` being seconds since 1970. */
export function check(identity: Identity, audience: string | undefined, leeway: number, now: number): void {
  if (identity.startsAt > now + ISSUED_AHEAD) throw malformed()
  // From the second of `exp` on (RFC 7519 section 4.1.4).
  if (now >= identity.principal.expiresAt + leeway) throw new Unauthenticated('TOKEN_EXPIRED')
  if (audience !== undefined && !identity.principal.audience.includes(audience)) {
    throw new Unauthenticated('TOKEN_AUDIENCE_MISMATCH')
  }
}

/** The error of a token that is no access token of this issuer. */
export function malformed(): Unauthenticated {
  return new Unauthenticated('TOKEN_MALFORMED')
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw malformed()
  return value
}

function dateOf(value: bigint | undefined): number {
  if (value === undefined || value < 0n || value > MAX_DATE) throw malformed()
  return Number(value)
}
