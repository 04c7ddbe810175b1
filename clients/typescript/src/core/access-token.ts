import { isUtf8 } from 'node:buffer'
import { Unauthenticated, Unavailable } from '../errors.js'
import { malformed } from './claims.js'
import { type KeySet, decodeBase64url } from './keys.js'
import { asText, type Members, readObject } from './strict-json.js'

/** Longer input is not looked at. */
export const MAX_BYTES = 8 * 1024

/**
 * Reads the claims of a token that one of `keys` signed (RFC 8725, RFC 9068). A token has one byte form: header members alg, kid
 * and typ alone, canonical base64url, two dots. What its claims say has still to be checked.
 */
export function open(token: string, keys: KeySet): Members {
  if (Buffer.byteLength(token) > MAX_BYTES) throw malformed()
  const parts = token.split('.')
  const [head, body, tail] = parts
  if (parts.length !== 3 || head === undefined || body === undefined || tail === undefined) throw malformed()
  const header = readHeader(head)
  const signature = decodeBase64url(tail)
  if (signature === undefined) throw malformed()
  const key = keys.get(header.kid)
  if (key === undefined && keys.has(header.kid)) throw new Unavailable('KEY_UNUSABLE')
  const message = Buffer.from(token.slice(0, head.length + 1 + body.length))
  // Byte for byte, so that no spelling of `none` is one of ours.
  if (key === undefined || header.alg !== key.algorithm || !key.verify(message, signature)) {
    throw new Unauthenticated('TOKEN_SIGNATURE_INVALID')
  }
  return readSegment(body)
}

/** Reads the header. Other members than these are refused: crit, b64, jwk, jku and x5u have been attacks. */
function readHeader(segment: string): { alg: string; kid: string } {
  const members = readSegment(segment)
  const [alg, kid, typ] = ['alg', 'kid', 'typ'].map((name) => asText(members.get(name)))
  if (alg === undefined || kid === undefined || typ === undefined || members.size !== 3) throw malformed()
  if (!/^(?:application\/)?at\+jwt$/i.test(typ)) throw malformed()
  return { alg, kid }
}

/** The object of a segment: canonical base64url of UTF-8 (RFC 7519 section 7.2). */
function readSegment(segment: string): Members {
  const bytes = decodeBase64url(segment)
  const members = bytes !== undefined && isUtf8(bytes) ? readObject(bytes.toString()) : undefined
  if (members === undefined) throw malformed()
  return members
}
