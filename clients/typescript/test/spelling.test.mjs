// The one spelling of tokens and keys, beyond the cases of all verifiers.
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { decodeBase64url, readKeySet } from '../dist/core/keys.js'
import { asInteger, asText, readObject } from '../dist/core/strict-json.js'
import { answer, CLAIMS, knowing, NOW, Signer, USER } from './signer.mjs'

const MALFORMED = 'TOKEN_MALFORMED'
const signer = new Signer()

test('names that occur twice are found, however they are spelled', () => {
  assert.deepEqual(
    [...readObject(' {"a" : [1, {"a": "}"}] , "b\\u0022":"\\\\", "c":-1e5\n} ')],
    [
      ['a', '[1, {"a": "}"}]'],
      ['b"', '"\\\\"'],
      ['c', '-1e5'],
    ],
  )
  assert.equal(readObject('{}').size, 0)
  assert.equal(readObject('{"__proto__":1,"constructor":2}').size, 2)
  const bad = [
    '{"a":1,"a":2}',
    '{"a":1,"\\u0061":2}',
    '{"__proto__":1,"__proto__":2}',
    '[]',
    '1',
    'null',
    '',
    '{"a":1}{}',
    '{"a":1,}',
  ]
  for (const text of [...bad, '\ufeff{}', '{"a":01}', '{"\ud800":1}', '{"\\ud800":1}'])
    assert.equal(readObject(text), undefined, text)
  assert.equal(readObject('{"x":{"a":1,"a":2}}').size, 1, 'within')
})

test('texts and numbers have one spelling', () => {
  for (const [text, value] of [
    ['0', 0n],
    ['7', 7n],
    ['-7', -7n],
    ['9007199254740993', 2n ** 53n + 1n],
  ])
    assert.equal(asInteger(text), value)
  for (const bad of ['-0', '1.0', '1e3', '1E0', '"1"', 'null', 'true', undefined])
    assert.equal(asInteger(bad), undefined, bad)
  for (const bad of ['"\\ud800"', 'null', '1', '["a"]', undefined]) assert.equal(asText(bad), undefined, bad)
  assert.equal(asText('"\\ud83d\\ude00"'), '\u{1f600}')
})

test('claims are spelled as the service reads them', () => {
  const knowledge = knowing([signer.jwk])
  const said = (name, text) => answer(knowledge, signer.spelled(name, text))
  for (const [name, text] of [
    ['exp', `${NOW + 600}.0`],
    ['exp', '18e8'],
    ['iat', '-0'],
    ['auth_time', String(2n ** 53n + 1n)],
    ['auth_time', '18446744073709551616'],
    ['epoch', '1.0'],
    ['epoch', String(2n ** 63n)],
    ['epoch', String(-(2n ** 63n) - 1n)],
    ['epoch', '-0'],
    ['jti', '"\\ud800"'],
    ['roles', '["\\udfff"]'],
    ['preferred_username', '1'],
    ['sub', `"${USER}\\n"`],
    ['aud', 'null'],
    ['roles', '{"0":"clerk"}'],
  ])
    assert.equal(said(name, text), MALFORMED, `${name} ${text}`)
  for (const [name, text] of [
    ['auth_time', String(2n ** 53n)],
    ['epoch', String(2n ** 63n - 1n)],
    ['epoch', '-9'],
    ['preferred_username', 'null'],
    ['scope', '7'],
    ['preferred_username', '"ann"'],
    ['more', '{"a":1,"a":2}'],
    ['more', '"\\ud800"'],
    ['more', '1e999'],
    ['roles', '[]'],
    ['aud', '"orders"'],
  ])
    assert.equal(said(name, text), 'OK', `${name} ${text}`)
  assert.equal(answer(knowledge, signer.token(`\ufeff${JSON.stringify(CLAIMS)}`)), MALFORMED)
  const bytes = Buffer.from(JSON.stringify({ ...CLAIMS, more: 'MARK' }))
  bytes[bytes.indexOf('MARK')] = 0xff
  assert.equal(answer(knowledge, signer.token(bytes)), MALFORMED)
  assert.equal(answer(knowledge, signer.token({ ...CLAIMS, iat: NOW + 30, exp: NOW + 20 })), MALFORMED, 'a life below zero')
  const names = ['x5u', 'x5c', 'x5t', 'enc', 'zip', 'cty', '__proto__']
  for (const name of names) {
    const header = `{"alg":"EdDSA","kid":"k","typ":"at+jwt","${name}":[]}`
    assert.equal(answer(knowledge, signer.token(CLAIMS, header)), MALFORMED, name)
  }
  for (const bad of [undefined, null, 7, {}]) assert.equal(answer(knowledge, bad), MALFORMED)
})

test('no altered token passes', () => {
  const knowledge = knowing([signer.jwk])
  const token = signer.token()
  assert.equal(answer(knowledge, token), 'OK')
  for (let place = 0; place < token.length; place += 1) {
    for (const other of ['A', '_', '.', ' ', '=']) {
      const altered = token.slice(0, place) + other + token.slice(place + 1)
      if (altered !== token) assert.notEqual(answer(knowledge, altered), 'OK', `${place}${other}`)
    }
  }
})

test('base64url is canonical', () => {
  for (const good of ['', 'AA', 'AAA', 'AAAA', '_-8']) assert.ok(decodeBase64url(good), good)
  for (const bad of ['A', 'AB', 'AAB', 'AA=', 'AA==', 'A A', '+/8', 'ü', 'AAAAA', 7, null])
    assert.equal(decodeBase64url(bad), undefined)
})

test('keys are whole, and say their algorithm', () => {
  const jwk = (kind, options, alg) => ({
    ...generateKeyPairSync(kind, options).publicKey.export({ format: 'jwk' }),
    kid: 'k',
    alg,
  })
  const [ec, rsa] = [jwk('ec', { namedCurve: 'P-256' }, 'ES256'), jwk('rsa', { modulusLength: 2048 }, 'RS256')]
  const read = (key) => readKeySet(JSON.stringify({ keys: [7, null, key] }))
  for (const good of [signer.jwk, ec, rsa]) assert.notEqual(read(good).get(good.kid), undefined)
  const bad = [
    { ...signer.jwk, alg: 'ES256' },
    { ...signer.jwk, kid: undefined },
    { ...signer.jwk, x: 'AA' },
    { ...signer.jwk, crv: 'X25519' },
    { ...ec, x: ec.y },
    { ...ec, alg: undefined },
    jwk('ec', { namedCurve: 'P-384' }, 'ES256'),
    { ...ec, alg: 'EdDSA' },
    { ...rsa, e: 'AQ' },
    { ...rsa, e: 'Ag' },
    { ...rsa, n: `${rsa.n}=` },
    { ...rsa, alg: 'PS256' },
    jwk('rsa', { modulusLength: 2040 }, 'RS256'),
  ]
  for (const key of bad) assert.equal(read(key).get('k'), undefined, JSON.stringify(key))
  for (const none of ['', '[]', '{}', 'null', '{"keys":{}}']) assert.equal(readKeySet(none), undefined)
})
