// The verifier beside real servers: revocations, broken wires, killed keys, wrong clocks.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Countersign, Verifier } from '@countersign/client'
import { Job, until, Wire } from './support.mjs'

const job = new Job()
let dev, replica, client, credentials, patient, patientSince
const opened = []

before(async () => {
  dev = await job.dev('dev')
  replica = await job.serve('replica', dev)
  client = new Countersign({ endpoints: [dev.url] })
  opened.push(client)
  credentials = { username: dev.facts.username, password: dev.facts.password }
  patient = verifierOf([replica.url, dev.url])
  patientSince = performance.now()
})
after(async () => {
  opened.forEach((it) => it.close())
  await job.end()
})

const login = async () => (await client.login(credentials)).tokens
const end = ({ refreshToken }) => client.revoke({ refreshToken })

function verifierOf(endpoints, settings = {}) {
  const events = []
  const verifier = new Verifier({ endpoints, onEvent: (event) => events.push(event), ...settings })
  opened.push(verifier)
  return Object.assign(verifier, { events })
}

/** The answer about a token: OK or the reason. */
function said(verifier, token) {
  try {
    verifier.verifyNow(token)
    return 'OK'
  } catch (error) {
    return error.reason
  }
}

/** Waits for an outage. No token is accepted after the bound. */
async function untilOutage(verifier, token, bound) {
  await until('it is an outage', () => {
    const asked = performance.now()
    const answer = said(verifier, token)
    assert.ok(answer !== 'OK' || asked <= bound, `${asked - bound} ms beyond the bound`)
    return answer === 'REVOCATIONS_STALE'
  })
}

async function wireTo(url) {
  const wire = await Wire.to(url)
  opened.push(wire)
  return wire
}

test('what is revoked at one replica is refused by a verifier that follows another', async () => {
  const verifier = verifierOf([replica.url], { audience: 'internal' })
  await verifier.ready()
  const tokens = await login()
  const principal = await verifier.verify(tokens.accessToken)
  assert.equal(principal.sessionId, tokens.sessionId)
  assert.ok(Object.isFrozen(principal) && principal.roles.length >= 0 && principal.expiresAt > principal.issuedAt)
  await end(tokens)
  const revoked = performance.now()
  await until('it is refused', () => said(verifier, tokens.accessToken) === 'TOKEN_REVOKED', 2)
  assert.ok(performance.now() - revoked < 1000)
  await assert.rejects(verifier.verify(tokens.accessToken), {
    name: 'Unauthenticated',
    reason: 'TOKEN_REVOKED',
    isOutage: false,
  })
  const kinds = verifier.events.map(({ kind }) => kind)
  assert.deepEqual(kinds, ['keysChanged', 'following', 'accepted', 'refused'])
})

test('a demand is checked', async () => {
  const verifier = verifierOf([dev.url])
  await verifier.ready()
  const { accessToken } = await login()
  await assert.rejects(verifier.verify(accessToken, { audience: 'wages' }), { reason: 'TOKEN_AUDIENCE_MISMATCH' })
  await assert.rejects(verifier.verify(accessToken, { roles: ['nobody'] }), { name: 'Forbidden', reason: 'ROLE_MISSING' })
  assert.throws(() => verifier.verifyNow(accessToken, { roles: ['nobody'] }), { reason: 'ROLE_MISSING' })
  verifier.close()
  assert.equal(said(verifier, accessToken), 'CLOSED')
})

test('a wire that is held keeps the bound, and what was missed is known at once afterwards', async () => {
  const wire = await wireTo(replica.url)
  const verifier = verifierOf([wire.url], { maxStaleness: 2000 })
  await verifier.ready()
  const tokens = await login()
  wire.hold()
  const held = performance.now()
  assert.equal(said(verifier, tokens.accessToken), 'OK', 'nothing has been heard, and the bound is not over')
  await Promise.all([end(tokens), untilOutage(verifier, tokens.accessToken, held + 2000)])
  await assert.rejects(verifier.verify(tokens.accessToken), { name: 'Unavailable', isOutage: true })
  wire.release()
  const allowed = new Set(['REVOCATIONS_STALE', 'TOKEN_REVOKED'])
  await until('it is refused', () => {
    const answer = said(verifier, tokens.accessToken)
    assert.ok(allowed.has(answer), answer)
    return answer === 'TOKEN_REVOKED'
  })
})

test('a wire that is cut keeps the bound, and is mended', async () => {
  const wire = await wireTo(replica.url)
  const verifier = verifierOf([wire.url], { maxStaleness: 2000 })
  await verifier.ready()
  const { accessToken } = await login()
  wire.cut()
  const cut = performance.now()
  await untilOutage(verifier, accessToken, cut + 2000)
  wire.mend()
  await until('it is well', () => said(verifier, accessToken) === 'OK')
})

test('another replica is followed when one is silent, and nothing is refused meanwhile', async () => {
  const wires = [await wireTo(dev.url), await wireTo(replica.url)]
  const verifier = verifierOf(wires.map(({ url }) => url))
  await verifier.ready()
  const { accessToken } = await login()
  const followed = () => verifier.events.filter(({ kind }) => kind === 'following').at(-1)?.endpoint
  const first = await until('one is followed', followed)
  wires.find(({ url }) => url === first).hold()
  await until('the other is followed', () => {
    assert.equal(said(verifier, accessToken), 'OK')
    return followed() !== first
  })
  const lost = verifier.events.find(({ kind }) => kind === 'lost')
  assert.deepEqual([lost.endpoint, lost.error.reason], [first, 'SILENT'])
})

test('with the fallback, the service is asked when nothing is known here', async () => {
  const wire = await wireTo(replica.url)
  wire.cut()
  const verifier = verifierOf([wire.url, dev.url], { fallback: 'ask', maxStaleness: 0 })
  await verifier.ready()
  const tokens = await login()
  const principal = await verifier.verify(tokens.accessToken, { audience: 'internal' })
  assert.equal(principal.sessionId, tokens.sessionId)
  assert.ok(principal.expiresAt > principal.issuedAt)
  await assert.rejects(verifier.verify('nonsense'), { name: 'Unauthenticated', reason: 'TOKEN_MALFORMED' })
  await end(tokens)
  await assert.rejects(verifier.verify(tokens.accessToken), { reason: 'TOKEN_REVOKED' })
  assert.ok(verifier.events.some(({ kind }) => kind === 'askedService'))
  const none = verifierOf([wire.url], { fallback: 'ask' })
  await assert.rejects(none.verify(tokens.accessToken), { name: 'Unavailable', reason: 'UNREACHABLE' })
})

test('a clock that is an hour wrong changes nothing, and one that is set is followed', async () => {
  const offset = { wall: 3_600_000 }
  const clock = { steady: () => performance.now(), wall: () => Date.now() + offset.wall }
  const verifier = verifierOf([dev.url], { clock })
  await verifier.ready()
  const { accessToken } = await login()
  assert.equal(said(verifier, accessToken), 'OK')
  offset.wall += 20_000
  assert.equal(said(verifier, accessToken), 'REVOCATIONS_STALE', 'a machine that slept')
  await until('it has heard again', () => said(verifier, accessToken) === 'OK', 5)
  offset.wall = -3_600_000
  assert.equal(said(verifier, accessToken), 'TOKEN_MALFORMED', 'issued far ahead by this clock')
  await until('the step is noticed', () => said(verifier, accessToken) === 'OK', 5)
})

for (const hears of [false, true]) {
  const what = hears ? 'what it missed is there when it wakes' : 'it hears nothing'
  test(`a process that was stopped accepts nothing that was revoked meanwhile: ${what}`, () => stopped(hears))
}

async function stopped(hears) {
  const wire = await wireTo(replica.url)
  const tokens = await login()
  const { process: child } = job.node(new URL('stopped.mjs', import.meta.url).pathname, wire.url, '2000')
  const answers = []
  child.on('message', (answer) => answers.push(answer))
  const ask = async () => {
    const before = answers.length
    child.send(tokens.accessToken)
    return until('it answers', () => answers[before])
  }
  await until('it accepts', async () => (await ask()) === 'OK')
  child.kill('SIGSTOP')
  const stopped = performance.now()
  await end(tokens)
  if (!hears) wire.hold()
  await until('its bound is over', () => performance.now() - stopped > 2100)
  const before = answers.length
  child.send(tokens.accessToken)
  child.kill('SIGCONT')
  const first = await until('it answers', () => answers[before])
  assert.ok(first === 'REVOCATIONS_STALE' || (hears && first === 'TOKEN_REVOKED'), first)
  wire.release()
  await until('it has heard', async () => {
    const answer = await ask()
    assert.notEqual(answer, 'OK')
    return answer === 'TOKEN_REVOKED'
  })
}

test('a key that is killed takes its tokens with it, and the next is accepted', async () => {
  const verifier = verifierOf([replica.url])
  await verifier.ready()
  const { accessToken } = await login()
  assert.equal(said(verifier, accessToken), 'OK')
  const { kid } = JSON.parse(Buffer.from(accessToken.split('.')[0], 'base64url'))
  job.command(dev, 'keys', 'kill', kid)
  await until('it is refused', () => said(verifier, accessToken) === 'TOKEN_SIGNATURE_INVALID')
  const next = await until('another key signs', async () => {
    const tokens = await login().catch(() => undefined)
    return tokens?.accessToken.startsWith(accessToken.slice(0, 60)) ? undefined : tokens
  })
  await until('it is accepted', () => said(verifier, next.accessToken) === 'OK')
})

test('a service that signs by HS256 is asked, and cannot be followed', async () => {
  const secret = await job.dev('secret', '--signing-algorithm', 'HS256')
  const caller = new Countersign({ endpoints: [secret.url] })
  opened.push(caller)
  const { username, password } = secret.facts
  const { tokens } = await caller.login({ username, password })
  await assert.rejects(verifierOf([secret.url]).ready(), { name: 'Unavailable', reason: 'SIGNING_KEY_SECRET' })
  const verifier = verifierOf([secret.url], { fallback: 'ask', audience: 'internal' })
  await verifier.ready()
  assert.equal((await verifier.verify(tokens.accessToken)).sessionId, tokens.sessionId)
  await caller.revoke({ accessToken: tokens.accessToken })
  await assert.rejects(verifier.verify(tokens.accessToken), { reason: 'TOKEN_REVOKED' })
})

test('a process ends by itself once its verifier is closed, and not while it waits for one to be ready', async () => {
  const wire = await wireTo(dev.url)
  wire.cut()
  const script = `
    import { Verifier } from '@countersign/client'
    const verifier = new Verifier({ endpoints: ['${wire.url}'], onEvent: ({ kind }) => console.log(kind) })
    await verifier.ready()
    verifier.close()
    process.disconnect()
  `
  const ended = job.node('--input-type=module', '-e', script)
  await until('it has tried some times', () => ended.runs() && ended.out.split('lost').length > 5)
  wire.mend()
  await until('it ends', () => ended.process.exitCode !== null)
  assert.equal(ended.process.exitCode, 0, ended.err)
})

test('a replica that speaks is not left', async () => {
  await until('it could have been left', () => performance.now() > patientSince + 5000)
  assert.ok(patient.isFresh)
  const kinds = patient.events.map(({ kind }) => kind).filter((kind) => kind !== 'keysChanged')
  assert.deepEqual(kinds, ['following'])
})
