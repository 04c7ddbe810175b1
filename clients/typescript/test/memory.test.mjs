// What is remembered of tokens: how much, how long, and what it saves.
import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { ENTRY, Memory } from '../dist/core/memory.js'
import { answer, at, CLAIMS, knowing, NOW, SESSION, Signer, time } from './signer.mjs'

const signer = new Signer()

test('no more is remembered than there is room for, and what is used stays', () => {
  const memory = new Memory(100, 1e9)
  memory.set('used', 1)
  for (let n = 0; n < 10_000; n += 1) {
    memory.set(String(n), n)
    assert.equal(memory.get('used'), 1)
    assert.ok(memory.size <= 101)
  }
  assert.equal(memory.get('0'), undefined)
  const none = new Memory(0, 1e9)
  none.set('a', 1)
  assert.equal(none.get('a'), undefined)
})

test('memory is bounded by bytes', () => {
  const memory = new Memory(10_000, 100 * (7000 + ENTRY))
  const text = (n) => String(n).padStart(7000, '0')
  for (let n = 0; n < 1000; n += 1) {
    memory.set(text(n), n)
    assert.ok(memory.size <= 100)
  }
  assert.equal(memory.get(text(999)), 999)
  memory.set('x'.repeat(1e7), 1)
  assert.equal(memory.get('x'.repeat(1e7)), undefined)
  assert.equal(memory.get(text(999)), 999)
  memory.retain((value) => value === 998)
  assert.deepEqual([memory.get(text(998)), memory.size], [998, 1])
  // What was taken out has left room.
  for (let n = 0; n < 45; n += 1) memory.set(text(n), n)
  assert.equal(memory.get(text(998)), 998)
})

test('what is dead is not kept among what is accepted, and still costs nothing', () => {
  const knowledge = knowing([signer.jwk], { remembered: 2 })
  const dead = signer.token()
  assert.equal(answer(knowledge, dead), 'OK')
  const revoked = { subject: 'sessionId', sessionId: SESSION, expiresAt: time(NOW + 9999) }
  knowledge.tell('additions', { revocations: [revoked], position: '' })
  const reads = mock.method(Buffer, 'from')
  for (let n = 0; n < 10; n += 1) assert.equal(answer(knowledge, dead), 'TOKEN_REVOKED')
  assert.equal(reads.mock.callCount(), 0)
  const other = signer.token({ ...CLAIMS, sid: SESSION.replace('59', '60'), jti: 'another' })
  for (let n = 0; n < 10; n += 1) assert.equal(answer(knowledge, other), 'OK')
  reads.mock.resetCalls()
  assert.equal(answer(knowledge, other), 'OK')
  assert.equal(answer(knowledge, dead), 'TOKEN_REVOKED')
  assert.equal(reads.mock.callCount(), 0)
  reads.mock.restore()
})

test('forged and malformed tokens that are sent again are not read again', () => {
  const knowledge = knowing([signer.jwk])
  const elsewhere = signer.token({ ...CLAIMS, iss: 'another issuer' })
  for (const [token, said] of [
    [new Signer().token(), 'TOKEN_SIGNATURE_INVALID'],
    [elsewhere, 'TOKEN_MALFORMED'],
    ['no.token.at-all', 'TOKEN_MALFORMED'],
  ]) {
    assert.equal(answer(knowledge, token), said)
    const reads = mock.method(Buffer, 'from')
    for (let n = 0; n < 10; n += 1) assert.equal(answer(knowledge, token), said)
    assert.equal(reads.mock.callCount(), 0, said)
    reads.mock.restore()
  }
})

test('a key that is new leaves no token refused', () => {
  const late = new Signer('late')
  const knowledge = knowing([signer.jwk])
  assert.equal(answer(knowledge, late.token()), 'TOKEN_SIGNATURE_INVALID')
  const token = late.token()
  assert.equal(answer(knowledge, token), 'TOKEN_SIGNATURE_INVALID')
  knowledge.learn([signer.jwk, late.jwk])
  assert.equal(answer(knowledge, token), 'OK')
})

test('tokens that have expired are forgotten in time', () => {
  const knowledge = knowing([signer.jwk], { remembered: 4 })
  const tokens = [1, 2].map((n) => signer.token({ ...CLAIMS, jti: String(n), exp: NOW + 100 }))
  for (const token of tokens) assert.equal(answer(knowledge, token), 'OK')
  const dropped = mock.method(Map.prototype, 'delete')
  knowledge.beat(99)
  assert.equal(dropped.mock.calls.filter(({ arguments: [text] }) => tokens.includes(text)).length, 0)
  knowledge.beat(160)
  const gone = new Set(dropped.mock.calls.map(({ arguments: [text] }) => text))
  dropped.mock.restore()
  assert.ok(tokens.every((token) => gone.has(token)))
  assert.equal(answer(knowledge, tokens[0], at(160)), 'TOKEN_EXPIRED')
})
