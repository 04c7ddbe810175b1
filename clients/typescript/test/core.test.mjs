// What the cases of all verifiers do not say: memory, clocks and errors.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Metadata, status } from '@grpc/grpc-js'
import { Forbidden, Invalid, Unauthenticated, Unavailable, Verifier } from '@countersign/client'
import { ClockAhead, since } from '../dist/core/clock.js'
import { Revocations } from '../dist/core/revocations.js'
import { connect } from '../dist/endpoints.js'
import { bearer } from '../dist/guard.js'
import { errorOf, statusOf } from '../dist/status.js'
import { answer, at, CLAIMS, knowing, NOW, SESSION, Signer, time, USER } from './signer.mjs'

const signer = new Signer()

test('what is sent again costs no signature, until the keys change', () => {
  const knowledge = knowing([signer.jwk])
  const tokens = [signer.token(), signer.token({ ...CLAIMS, exp: NOW }), new Signer().token()]
  const expected = ['OK', 'TOKEN_EXPIRED', 'TOKEN_SIGNATURE_INVALID']
  for (let round = 0; round < 2; round += 1)
    assert.deepEqual(
      tokens.map((token) => answer(knowledge, token)),
      expected,
    )
  assert.equal(knowledge.learn([signer.jwk]).keysChanged, false)
  assert.equal(knowledge.learn([new Signer().jwk]).keysChanged, true)
  assert.deepEqual(tokens.map((token) => answer(knowledge, token)).slice(0, 2), Array(2).fill('TOKEN_SIGNATURE_INVALID'))
  const old = signer.token({ ...CLAIMS, exp: NOW + 5 })
  const patient = knowing([signer.jwk], { leeway: 2000 })
  assert.deepEqual(
    [6, 7].map((second) => answer(patient, old, at(second))),
    ['OK', 'TOKEN_EXPIRED'],
  )
})

test('revocations are forgotten when they are over by both clocks, and no token revives', () => {
  const [hours, subject] = [3 * 3600, { kind: 'session', id: SESSION }]
  const identity = {
    principal: { userId: USER, sessionId: SESSION, issuedAt: NOW - 10, expiresAt: NOW + 600 },
    epoch: 3n,
    openedAt: 0,
  }
  const said = (revocations, token = identity) => {
    try {
      revocations.check(token)
      return 'OK'
    } catch (error) {
      return error.reason
    }
  }
  const revocations = new Revocations()
  revocations.apply({ subject, expiresAt: (NOW + hours) * 1000 }, at(0))
  revocations.apply({ subject: { kind: 'user', id: USER, leastEpoch: 4n }, expiresAt: (NOW + hours) * 1000 }, at(0))
  revocations.apply({ subject: { kind: 'openedBefore', seconds: 70 }, expiresAt: (NOW + hours) * 1000 }, at(0))
  for (const now of [at(hours, hours - 1), at(0, 2 * hours), at(hours - 1, hours)]) {
    revocations.evict(now, 100)
    assert.equal(revocations.size, 3)
    assert.equal(said(revocations), 'TOKEN_REVOKED')
  }
  for (let piece = 0; piece < 5; piece += 1) revocations.evict(at(hours), 1)
  assert.equal(revocations.size, 0)
  assert.equal(said(revocations), 'TOKEN_EXPIRED', 'by a clock that steps back it would be alive')
  const later = { ...identity, principal: { ...identity.principal, issuedAt: NOW + hours - 3600 } }
  assert.equal(said(revocations, later), 'OK')
})

test('a revocation of a user or a moment only ever grows', () => {
  const knowledge = knowing([signer.jwk])
  const add = (revocation) =>
    knowledge.tell('additions', { revocations: [{ ...revocation, expiresAt: time(NOW + 9999) }], position: '' })
  const user = (leastEpoch) => add({ subject: 'user', user: { userId: USER, leastEpoch } })
  user('3')
  assert.equal(answer(knowledge, signer.token()), 'OK')
  user('9223372036854775807')
  user('2')
  assert.equal(answer(knowledge, signer.spelled('epoch', '9223372036854775806')), 'TOKEN_REVOKED')
  assert.equal(answer(knowledge, signer.spelled('epoch', '9223372036854775807')), 'OK')
  for (const bad of [
    { subject: 'sessionId', sessionId: SESSION.toUpperCase() },
    { subject: 'openedBefore', openedBefore: time(-1) },
    {},
  ]) {
    const poisoned = knowing([signer.jwk])
    const message = { revocations: [bad], position: '' }
    assert.throws(() => poisoned.tell('snapshot', message), { reason: 'UNKNOWN_REVOCATION' })
    assert.throws(() => poisoned.beat(1), { reason: 'UNKNOWN_REVOCATION' })
    assert.equal(answer(poisoned, signer.token()), 'UNKNOWN_REVOCATION')
    assert.equal(poisoned.isFresh(at(1)), false)
  }
})

test('what has passed is the larger of what two clocks say', () => {
  assert.equal(since(at(2), at(0)), 2000)
  assert.equal(since(at(2, 62), at(0)), 62_000)
  assert.equal(since(at(2, -1000), at(0)), 2000)
  assert.equal(since(at(-2), at(0)), 0)
  const knowledge = knowing([signer.jwk])
  assert.equal(answer(knowledge, signer.token(), at(1, 11)), 'REVOCATIONS_STALE')
  assert.throws(() => knowledge.beat(1, at(1, 11)), { reason: 'CLOCK_STEPPED' })
})

test('a machine that slept hears anew, and is well at once', () => {
  const knowledge = knowing([signer.jwk])
  assert.throws(() => knowledge.beat(61, at(1, 61)), { reason: 'CLOCK_STEPPED' })
  assert.equal(answer(knowledge, signer.token(), at(1, 61)), 'REVOCATIONS_STALE')
  knowledge.again(at(1, 61))
  knowledge.beat(0, at(1, 61))
  assert.equal(answer(knowledge, signer.token(), at(10, 70)), 'OK')
  knowledge.beat(20, at(12, 72))
  assert.equal(answer(knowledge, signer.token(), at(22, 82)), 'OK')
  assert.equal(answer(knowledge, signer.token(), at(23, 83)), 'REVOCATIONS_STALE', 'nothing is known of what is to come')
})

test('the clock of the service is that of its least late heartbeat, and a step is followed at once', () => {
  const late = new ClockAhead()
  assert.equal(late.hear(3_600_000, { steady: 1000, wall: 1000 }), 3_599_000)
  assert.equal(late.hear(3_601_000, { steady: 12_000, wall: 12_000 }), 3_599_000, 'ten seconds late')
  const stepped = new ClockAhead()
  stepped.hear(100_000, { steady: 1000, wall: 100_000 })
  assert.equal(stepped.hear(101_000, { steady: 2000, wall: 3_701_000 }), -3_600_000)
  assert.equal(stepped.hear(102_000, { steady: 3000, wall: 102_000 }), 0)
})

test('there is one token or none', () => {
  assert.equal(bearer(['Bearer abc']), 'abc')
  assert.equal(bearer(['bEARER  abc ']), 'abc')
  for (const values of [
    [],
    ['Bearer a', 'Bearer b'],
    ['Bearer'],
    ['Bearer '],
    ['Basic abc'],
    ['Bearerabc'],
    ['Bearer ü'],
    [7],
  ]) {
    assert.throws(() => bearer(values), { name: 'Unauthenticated', reason: 'TOKEN_MISSING' })
  }
})

test('an outage is never a refusal, whatever the status', () => {
  for (const error of [new Unauthenticated('TOKEN_EXPIRED'), new Forbidden('ROLE_MISSING'), new Unavailable('SILENT')]) {
    const told = statusOf(error)
    assert.equal(errorOf(told).reason, error.reason)
    // As proxies do that drop the trailer, or empty it.
    told.metadata.set('countersign-reason', '')
    assert.equal(errorOf(told).reason, error.reason)
    told.metadata.remove('countersign-reason')
    const read = errorOf(told)
    assert.deepEqual([read.constructor, read.reason], [error.constructor, error.reason], 'by the details')
  }
  assert.equal(statusOf(new Error('x')).code, status.INTERNAL)
  const {
    UNAUTHENTICATED,
    PERMISSION_DENIED,
    UNAVAILABLE,
    DEADLINE_EXCEEDED,
    CANCELLED,
    UNKNOWN,
    INTERNAL,
    RESOURCE_EXHAUSTED,
  } = status
  for (const code of [
    UNAUTHENTICATED,
    PERMISSION_DENIED,
    UNAVAILABLE,
    DEADLINE_EXCEEDED,
    CANCELLED,
    UNKNOWN,
    INTERNAL,
    RESOURCE_EXHAUSTED,
  ]) {
    const error = errorOf({ code, details: '', metadata: new Metadata() })
    assert.ok(error instanceof Unavailable && error.isOutage && error.reason === 'UNREACHABLE', String(code))
  }
  for (const reason of ['A\r\nset-cookie: a=b', 'é', 'TOKEN EXPIRED', 'A'.repeat(65)]) {
    const { metadata } = statusOf(new Unavailable('X'))
    const details = metadata.get('grpc-status-details-bin')[0]
    const named = Buffer.concat([Buffer.from([0x0a, Buffer.byteLength(reason)]), Buffer.from(reason)])
    // The same details with another reason: [field 3 [type, value [reason, domain]]].
    const domain = details.subarray(details.lastIndexOf('\x12\x0bcountersign'))
    const info = Buffer.concat([named, domain])
    const type = Buffer.from('type.googleapis.com/google.rpc.ErrorInfo')
    const any = Buffer.concat([Buffer.from([0x0a, type.length]), type, Buffer.from([0x12, info.length]), info])
    const size = [(any.length & 127) | 128, any.length >> 7]
    const told = new Metadata()
    told.set('grpc-status-details-bin', Buffer.concat([Buffer.from([0x1a, ...size]), any]))
    const said = errorOf({ code: UNAUTHENTICATED, metadata: told })
    assert.deepEqual([said.constructor, said.reason], [Unavailable, 'UNREACHABLE'], reason)
  }
  const broken = new Metadata()
  broken.set('grpc-status-details-bin', Buffer.from('1aff', 'hex'))
  assert.equal(errorOf({ code: UNAVAILABLE, metadata: broken }).reason, 'UNREACHABLE')
})

test('settings that cannot be used are refused', () => {
  const bad = [
    { endpoints: [] },
    { endpoints: ['auth:50051'] },
    { endpoints: ['ftp://auth'] },
    { endpoints: ['http://auth/x'] },
    { endpoints: [''] },
    { endpoints: ['http://auth'], tls: {} },
    { endpoints: ['http://auth'], serviceToken: 'a b' },
    { endpoints: ['https://auth'], tls: { ca: 'x', cert: 'x', key: 'x' } },
  ]
  for (const settings of bad) assert.throws(() => connect(settings), Invalid, JSON.stringify(settings))
  for (const maxStaleness of [-1, Number.NaN, Infinity]) {
    assert.throws(() => new Verifier({ endpoints: ['http://auth'], maxStaleness }), Invalid)
  }
})
