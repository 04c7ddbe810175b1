import { type KeyObject, createPublicKey, verify } from 'node:crypto'

/** Keys that may have signed a token, by `kid`; undefined for one that cannot be used here. */
export type KeySet = ReadonlyMap<string, VerifyingKey | undefined>

/** A key that verifies signatures. A key has one algorithm (RFC 8725 section 3.1). */
export interface VerifyingKey {
  readonly algorithm: string
  /** True if `signature` is that of `message`. */
  verify(message: Uint8Array, signature: Uint8Array): boolean
}

type Jwk = Record<string, unknown>

/**
 * Reads a published key set (RFC 7517 section 5), or gives undefined for a text that is none. A key that has no name is passed
 * over. One of a kind that is not known here cannot be used: its tokens may be valid.
 */
export function readKeySet(json: string): KeySet | undefined {
  let document: unknown
  try {
    document = JSON.parse(json)
  } catch {
    return undefined
  }
  const keys = isObject(document) ? document['keys'] : undefined
  if (!Array.isArray(keys)) return undefined
  const set = new Map<string, VerifyingKey | undefined>()
  // One by one, because a key of an unknown kind must not hide the others.
  for (const jwk of keys as unknown[]) {
    if (!isObject(jwk) || typeof jwk['kid'] !== 'string') continue
    const key = readKey(jwk)
    // A name that is there twice: what can be used is not hidden by what cannot.
    if (key !== undefined || !set.has(jwk['kid'])) set.set(jwk['kid'], key)
  }
  return set
}

/** Decodes canonical base64url without padding; undefined for anything else. */
export function decodeBase64url(text: unknown): Buffer | undefined {
  if (typeof text !== 'string') return undefined
  const bytes = Buffer.from(text, 'base64url')
  // Node passes over letters and bits that mean nothing; there is one right spelling.
  return bytes.toString('base64url') === text ? bytes : undefined
}

/** Reads a key; undefined for one that is not whole, or does not say an algorithm of its kind. */
function readKey(jwk: Jwk): VerifyingKey | undefined {
  const { kty, crv, alg, x, y, n, e } = jwk
  if (kty === 'OKP' && crv === 'Ed25519' && alg === 'EdDSA') {
    const key = decodeBase64url(x)?.length === 32 ? publicKey({ kty, crv, x }) : undefined
    return key && { algorithm: alg, verify: (m, s) => s.length === 64 && verify(null, m, key, s) }
  }
  if (kty === 'EC' && crv === 'P-256' && alg === 'ES256') {
    const whole = decodeBase64url(x)?.length === 32 && decodeBase64url(y)?.length === 32
    const key = whole ? publicKey({ kty, crv, x, y }) : undefined
    if (key === undefined) return undefined
    const raw = { key, dsaEncoding: 'ieee-p1363' } as const
    return { algorithm: alg, verify: (m, s) => s.length === 64 && verify('sha256', m, raw, s) }
  }
  if (kty === 'RSA' && alg === 'RS256') {
    const modulus = decodeBase64url(n)
    const key = modulus && decodeBase64url(e) ? publicKey({ kty, n, e }) : undefined
    if (modulus === undefined || key === undefined || !isStrong(key)) return undefined
    return { algorithm: alg, verify: (m, s) => s.length === modulus.length && verify('sha256', m, key, s) }
  }
  return undefined
}

function publicKey(jwk: Jwk): KeyObject | undefined {
  try {
    return createPublicKey({ key: jwk, format: 'jwk' })
  } catch {
    return undefined
  }
}

/** True for 2048 to 8192 bits and an exponent by which nobody can forge. */
function isStrong(key: KeyObject): boolean {
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {}
  const odd = publicExponent >= 3n && publicExponent < 2n ** 33n && publicExponent % 2n === 1n
  return modulusLength >= 2048 && modulusLength <= 8192 && odd
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
