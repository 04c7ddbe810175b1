// The verifier beside replicas that say what real ones seldom say.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js'
import { AuthService, Unauthenticated, Unavailable, Verifier } from '@countersign/client'
import { CLAIMS, NOW, SESSION, Signer, time } from './signer.mjs'
import { until } from './support.mjs'

const signer = new Signer()
const token = signer.token()
const closes = []
after(() => closes.forEach((close) => close()))

const keys = (issuer = 'i', jwks = JSON.stringify({ keys: [signer.jwk] })) => ({ keys: { issuer, jwks } })
const snapshot = (position, ...revocations) => ({ snapshot: { revocations, position } })
const beat = () => ({ heartbeat: { completeAsOf: time(0), sentAt: time(NOW) } })

/** A replica: what it says in a stream, by its position, and what it answers about tokens. */
async function replica(watch, verify = (call, done) => done({ code: status.UNIMPLEMENTED })) {
  const server = new Server()
  const definition = { ...AuthService.service.WatchRevocations }
  const serialize = definition.responseSerialize
  definition.responseSerialize = (message) => (Buffer.isBuffer(message) ? message : serialize(message))
  const service = { watchRevocations: definition, verify: AuthService.service.Verify }
  const positions = []
  const watchRevocations = (call) => {
    positions.push(call.request.position)
    watch(call, positions.length)
  }
  server.addService(service, { watchRevocations, verify })
  const port = await new Promise((resolve, reject) => {
    const done = (error, port) => (error ? reject(error) : resolve(port))
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), done)
  })
  closes.push(() => server.forceShutdown())
  return { url: `http://127.0.0.1:${port}`, positions }
}

function verifierOf(replicas, settings = {}) {
  const events = []
  const verifier = new Verifier({
    endpoints: replicas.map(({ url }) => url),
    onEvent: (event) => events.push(event),
    ...settings,
  })
  closes.push(() => verifier.close())
  const lost = (reason) =>
    until(`lost by ${reason}`, () => events.some(({ kind, error }) => kind === 'lost' && error.reason === reason), 5)
  return { verifier, events, lost }
}

const says = (call, ...messages) => messages.forEach((message) => call.write(message))
const fails = (code, reason) => {
  const metadata = new Metadata()
  if (reason !== undefined) metadata.set('countersign-reason', reason)
  return { code, details: 'x', metadata }
}

test('a stream that ends is followed by another, from its position, and nothing is forgotten', async () => {
  const one = await replica((call, count) => {
    const revoked = { sessionId: SESSION, expiresAt: time(NOW + 9999) }
    if (count > 1) return says(call, keys(), snapshot('9:00'), beat())
    says(call, keys(), snapshot('', revoked), snapshot('7:00'), beat(), snapshot(''))
    call.end()
  })
  const { verifier, lost } = verifierOf([one])
  await verifier.ready()
  await lost('STREAM_ENDED')
  await until('it has called again', () => one.positions.length > 1)
  assert.deepEqual(one.positions.slice(0, 2), ['', '7:00'])
  assert.throws(() => verifier.verifyNow(token), { reason: 'TOKEN_REVOKED' })
  const other = signer.token({ ...CLAIMS, sid: SESSION.replace('59', '60') })
  assert.equal(verifier.verifyNow(other).tokenId, 'j')
})

test('a revocation of a kind that nobody knows yet ends all', async () => {
  // Additions with one revocation, whose only field is the ninth.
  const unknown = Buffer.from([0x1a, 5, 0x0a, 3, 0x4a, 1, 0x78])
  let say
  const one = await replica((call) => {
    says(call, keys(), snapshot('1:00'), beat())
    say = () => says(call, unknown, beat())
  })
  const { verifier, lost } = verifierOf([one])
  await verifier.ready()
  assert.ok(verifier.verifyNow(token))
  say()
  await lost('UNKNOWN_REVOCATION')
  assert.throws(
    () => verifier.verifyNow(token),
    (error) => error instanceof Unavailable && error.reason === 'UNKNOWN_REVOCATION',
  )
  await assert.rejects(verifier.ready(), { reason: 'UNKNOWN_REVOCATION' })
  assert.equal(verifier.isFresh, false)
  const over = performance.now() + 200
  await until('it would have called again', () => performance.now() > over)
  assert.equal(one.positions.length, 1)
})

test('another issuer than is expected, and keys that cannot be read, are left for another replica', async () => {
  const good = await replica((call) => says(call, keys(), snapshot('1:00'), beat()))
  for (const [said, reason] of [
    [keys('other'), 'ISSUER_MISMATCH'],
    [keys('i', '{'), 'KEYS_UNREADABLE'],
  ]) {
    const bad = await replica((call) => says(call, said, snapshot('1:00'), beat()))
    const alone = verifierOf([bad], { issuer: 'i' })
    await alone.lost(reason)
    assert.throws(() => alone.verifier.verifyNow(token), Unavailable)
    const { verifier } = verifierOf([bad, good], { issuer: 'i' })
    await verifier.ready()
    assert.ok(verifier.verifyNow(token))
  }
})

test('a replica that refuses is in an outage', async () => {
  for (const [error, reason] of [
    [fails(status.UNAVAILABLE, 'SHUTTING_DOWN'), 'SHUTTING_DOWN'],
    [fails(status.RESOURCE_EXHAUSTED, 'OVERLOADED'), 'OVERLOADED'],
    [fails(status.PERMISSION_DENIED, 'CALLER_NOT_ALLOWED'), 'CALLER_NOT_ALLOWED'],
    [fails(status.UNAUTHENTICATED), 'UNREACHABLE'],
    [fails(status.UNIMPLEMENTED), 'REFUSED'],
  ]) {
    const { verifier, lost } = verifierOf([await replica((call) => call.emit('error', error))])
    await lost(reason)
    assert.throws(
      () => verifier.verifyNow(token),
      (thrown) => thrown instanceof Unavailable && thrown.reason === reason,
    )
  }
})

test('what befell the question about a token is no refusal of the token', async () => {
  const unable = (call) => call.emit('error', fails(status.FAILED_PRECONDITION, 'SIGNING_KEY_SECRET'))
  const asking = async (error) => {
    const { verifier } = verifierOf([await replica(unable, (call, done) => done(error))], { fallback: 'ask' })
    return verifier.verify(token).then(
      () => 'OK',
      (thrown) => thrown,
    )
  }
  const refused = await asking(fails(status.UNAUTHENTICATED, 'TOKEN_EXPIRED'))
  assert.ok(refused instanceof Unauthenticated && refused.reason === 'TOKEN_EXPIRED')
  for (const error of [
    fails(status.UNAUTHENTICATED),
    fails(status.UNAUTHENTICATED, 'CALLER_UNKNOWN'),
    fails(status.PERMISSION_DENIED, 'CALLER_NOT_ALLOWED'),
    fails(status.INVALID_ARGUMENT, 'INVALID_ARGUMENT'),
    fails(status.RESOURCE_EXHAUSTED, 'CALLER_THROTTLED'),
    fails(status.UNIMPLEMENTED),
  ])
    assert.ok((await asking(error)) instanceof Unavailable, String(error.code))
})

test('what a hook throws decides nothing', async () => {
  const one = await replica((call) => says(call, keys(), snapshot('1:00'), beat()))
  const warned = []
  const warn = (warning) => warned.push(warning.message)
  process.on('warning', warn)
  const onEvent = () => {
    throw new Error('a defect of a hook')
  }
  const verifier = new Verifier({ endpoints: [one.url], onEvent })
  closes.push(() => verifier.close())
  await verifier.ready()
  assert.equal((await verifier.verify(token)).sessionId, SESSION)
  await until('it warns', () => warned.includes('a defect of a hook'))
  warned.length = 0
  const later = async () => {
    throw new Error('a defect of a hook that waits')
  }
  const patient = new Verifier({ endpoints: [one.url], onEvent: later })
  closes.push(() => patient.close())
  await patient.ready()
  assert.equal((await patient.verify(token)).sessionId, SESSION)
  await assert.rejects(patient.verify('x'), { reason: 'TOKEN_MALFORMED' })
  await until('it warns', () => warned.includes('a defect of a hook that waits'))
  process.off('warning', warn)
})

test('an audience that is empty demands no less', async () => {
  const refuses = { code: status.UNAUTHENTICATED, reason: 'TOKEN_AUDIENCE_MISMATCH' }
  const asked = []
  const verify = (call, done) => {
    asked.push(call.request.audience)
    done(fails(refuses.code, refuses.reason))
  }
  const unable = (call) => call.emit('error', fails(status.FAILED_PRECONDITION, 'SIGNING_KEY_SECRET'))
  const { verifier } = verifierOf([await replica(unable, verify)], { fallback: 'ask', audience: 'wages' })
  await assert.rejects(verifier.verify(token, { audience: '' }), { reason: refuses.reason })
  assert.deepEqual(asked, ['wages'])
  for (const settings of [{ audience: '' }, { issuer: '' }]) {
    assert.throws(() => new Verifier({ endpoints: ['http://auth'], ...settings }), { reason: 'INVALID_SETTINGS' })
  }
})
