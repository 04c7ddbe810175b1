// Tokens and keys of tests.
import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto'
import { Knowledge, Stream } from '../dist/core/knowledge.js'

export const NOW = 1_800_000_000
export const USER = '01890a5d-ac96-774b-bcce-b302099a8057'
export const SESSION = '01890a5d-ac96-774b-bcce-b302099a8059'

export const b64 = (data) =>
  Buffer.from(typeof data === 'object' && !Buffer.isBuffer(data) ? JSON.stringify(data) : data).toString('base64url')

export const CLAIMS = {
  iss: 'i',
  sub: USER,
  aud: ['orders'],
  exp: NOW + 600,
  iat: NOW - 10,
  jti: 'j',
  client_id: 'c',
  auth_time: NOW - 100,
  sid: SESSION,
  epoch: 3,
  roles: ['clerk'],
}

export class Signer {
  constructor(kid = 'k') {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519')
    this.private = createPrivateKey(privateKey.export({ format: 'pem', type: 'pkcs8' }))
    this.jwk = { ...publicKey.export({ format: 'jwk' }), kid, alg: 'EdDSA' }
    this.header = { alg: 'EdDSA', kid, typ: 'at+jwt' }
  }

  token(claims = CLAIMS, header = this.header) {
    const message = `${b64(header)}.${b64(claims)}`
    return `${message}.${sign(null, Buffer.from(message), this.private).toString('base64url')}`
  }

  /** A token with a claim that is written so. */
  spelled(name, text) {
    const rest = JSON.stringify({ ...CLAIMS, [name]: undefined })
    return this.token(`${rest.slice(0, -1)},"${name}":${text}}`)
  }
}

export const time = (seconds) => ({ seconds: String(Math.trunc(seconds)), nanos: 0 })

export const at = (steady, wall = steady) => ({ steady: steady * 1000, wall: (NOW + wall) * 1000 })

/** What knows these keys, and is fresh at the start. */
export function knowing(keys, settings = {}) {
  const knowledge = new Knowledge({ maxStaleness: 10_000, leeway: 0, remembered: 100, ...settings })
  let stream = new Stream(at(0))
  const again = (now) => {
    stream = new Stream(now)
    stream.hasKeys = true
  }
  const tell = (event, content, now = at(0)) => knowledge.hear(stream, { event, [event]: content }, now)
  const learn = (keys) => tell('keys', { jwks: JSON.stringify({ keys }), issuer: 'i' })
  const beat = (after, now = at(after)) => tell('heartbeat', { completeAsOf: time(after), sentAt: null }, now)
  learn(keys)
  beat(0)
  return Object.assign(knowledge, { again, tell, learn, beat })
}

/** The answer about a token: OK or the reason. */
export function answer(knowledge, token, now = at(1), audience = undefined) {
  try {
    knowledge.verify(token, audience, now)
    return 'OK'
  } catch (error) {
    if (error.reason === undefined) throw error
    return error.reason
  }
}
