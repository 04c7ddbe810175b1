// Whoever calls Countersign: calls, sessions, service tokens and certificates.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Countersign, Forbidden, Session, Unauthenticated, Unavailable, Verifier } from '@countersign/client'
import { Job, until, Wire } from './support.mjs'

const job = new Job()
let dev, client, credentials
const opened = []
const opens = (it) => {
  opened.push(it)
  return it
}

before(async () => {
  dev = await job.dev('dev')
  client = opens(new Countersign({ endpoints: [dev.url] }))
  credentials = { username: dev.facts.username, password: dev.facts.password }
})
after(async () => {
  opened.forEach((it) => it.close())
  await job.end()
})

const login = async () => (await client.login(credentials)).tokens
const wireTo = async (url) => opens(await Wire.to(url))

test('the calls of the contract', async () => {
  const answer = await client.login({ ...credentials, audience: ['internal'], client: { device: 'a test' } })
  const { accessToken, refreshToken, sessionId } = answer.tokens
  assert.ok(answer.deviceHint !== '' && Number(answer.tokens.accessTokenExpiresAt.seconds) > 0)
  const { principal } = await client.verify({ accessToken, audience: 'internal' })
  assert.equal(principal.sessionId, sessionId)
  const { results } = await client.verifyBatch({ accessTokens: [accessToken, 'x'] })
  assert.equal(results[0].principal.userId, principal.userId)
  assert.equal(results[1].rejection, 'REJECTION_TOKEN_MALFORMED')
  const { sessions } = await client.listSessions({ userId: principal.userId, pageSize: 1000 })
  assert.equal(sessions.find((it) => it.sessionId === sessionId).client.device, 'a test')
  assert.ok(JSON.parse((await client.getJwks()).jwks).keys.length > 0)
  const next = await client.refresh({ refreshToken })
  assert.ok(next.tokens.sessionId === sessionId && !next.replayed)
  const end = await client.revoke({ sessionId })
  assert.deepEqual([end.sessionsRevoked, end.confirmed], [1, true])
})

test('refusals and outages are told apart', async () => {
  const wrong = client.login({ ...credentials, password: 'not this one, certainly' })
  await assert.rejects(wrong, (error) => error instanceof Unauthenticated && error.reason === 'INVALID_CREDENTIALS')
  const invalid = client.refresh({ refreshToken: '' })
  await assert.rejects(invalid, { name: 'Refused', reason: 'INVALID_ARGUMENT', isOutage: false })
  const nobody = opens(new Countersign({ endpoints: ['http://127.0.0.1:9'], deadline: 500 }))
  await assert.rejects(nobody.getJwks(), (error) => error instanceof Unavailable && error.reason === 'UNREACHABLE')
})

test('another replica is called when one is away or hangs', async () => {
  const wire = await wireTo(dev.url)
  const both = opens(new Countersign({ endpoints: [wire.url, dev.url], deadline: 1000 }))
  await both.getJwks()
  wire.hold()
  await both.getJwks()
  wire.cut()
  await both.getJwks()
  wire.mend()
})

test('a client that is closed is in an outage', async () => {
  const closed = new Countersign({ endpoints: [dev.url] })
  await closed.getJwks()
  closed.close()
  await assert.rejects(closed.getJwks(), (error) => error instanceof Unavailable && error.reason === 'CLOSED')
})

test('a session exchanges its tokens once for all who ask', async () => {
  let exchanges = 0
  const counted = {
    refresh: (request) => (exchanges++, client.refresh(request)),
    revoke: (request) => client.revoke(request),
  }
  const session = Session.of(counted, { ...(await login()), accessToken: '' })
  const asked = await Promise.all(Array.from({ length: 50 }, () => session.accessToken()))
  assert.deepEqual([new Set(asked).size, exchanges], [1, 1])
  assert.equal(await session.accessToken(), asked[0])
  assert.equal(session.tokens().accessToken, asked[0])
  assert.deepEqual(await session.headers(), { authorization: `Bearer ${asked[0]}` })
  await session.logout()
  await assert.rejects(client.verify({ accessToken: asked[0] }), { reason: 'TOKEN_REVOKED' })
  const later = Session.of(client, { ...session.tokens(), accessToken: '' })
  await assert.rejects(later.accessToken(), { name: 'Unauthenticated', reason: 'REFRESH_TOKEN_INVALID' })
})

test('a lost answer is asked for again with the same token, and the session lives', async () => {
  const wire = await wireTo(dev.url)
  const lossy = opens(new Countersign({ endpoints: [wire.url] }))
  await lossy.getJwks()
  const tokens = await login()
  const session = Session.of(lossy, { ...tokens, accessToken: '' })
  wire.lose()
  const accessToken = await session.accessToken()
  assert.ok(wire.hasLost)
  assert.equal((await client.verify({ accessToken })).principal.sessionId, tokens.sessionId)
  const again = Session.of(lossy, { ...session.tokens(), accessToken: '' })
  await client.verify({ accessToken: await again.accessToken() })
})

test('a token that is still good is used while the service is away', async (t) => {
  let now = 1000
  t.mock.method(performance, 'now', () => now)
  const seconds = Math.floor(Date.now() / 1000)
  const claims = Buffer.from(JSON.stringify({ iat: seconds, exp: seconds + 100 })).toString('base64url')
  const tokens = { accessToken: `x.${claims}.x`, refreshToken: 'r', sessionId: 's' }
  let error = new Unavailable('DATABASE_UNAVAILABLE')
  let exchanges = 0
  const away = { login: async () => ({ tokens }), refresh: async () => (exchanges++, Promise.reject(error)) }
  const session = await Session.login(away, credentials)
  now += 69_000
  assert.equal(await session.accessToken(), tokens.accessToken)
  assert.equal(exchanges, 0)
  now += 2000
  assert.equal(await session.accessToken(), tokens.accessToken)
  assert.equal(exchanges, 1)
  now += 28_000
  await assert.rejects(session.accessToken(), { reason: 'DATABASE_UNAVAILABLE' })
  now -= 28_000
  exchanges = 0
  await Promise.all(Array.from({ length: 10 }, () => session.accessToken()))
  assert.equal(exchanges, 0, 'not all wait while it is good')
  now += 1100
  error = new Unauthenticated('REFRESH_TOKEN_INVALID')
  await assert.rejects(session.accessToken(), { reason: 'REFRESH_TOKEN_INVALID' })
})

test('a machine that slept does not go on with a token that is over', async (t) => {
  let slept = 0
  t.mock.method(Date, 'now', () => 1_800_000_000_000 + slept)
  const claims = Buffer.from(JSON.stringify({ iat: 1_800_000_000, exp: 1_800_000_600 })).toString('base64url')
  const pair = (name) => ({ tokens: { accessToken: `${name}.${claims}.x`, refreshToken: 'r', sessionId: 's' } })
  const session = await Session.login({ login: async () => pair('a'), refresh: async () => pair('b') }, credentials)
  assert.match(await session.accessToken(), /^a/)
  slept = 3_600_000
  assert.match(await session.accessToken(), /^b/)
})

test('a service that may not call is in an outage, and refuses no user for it', async () => {
  const serviceToken = 'a-service-token-of-these-tests-alone'
  const policy = join(job.directory, 'policy.toml')
  const rpcs = '["Login", "Refresh", "Revoke", "Verify", "WatchRevocations"]'
  const sha256 = createHash('sha256').update(serviceToken).digest('hex')
  writeFileSync(policy, `[[callers]]\nid = "token:web"\nrpcs = ${rpcs}\n[[tokens]]\nname = "web"\nsha256 = ["${sha256}"]\n`)
  const strict = await job.serve('strict', dev, '--policy-file', policy)
  const { accessToken } = await login()
  const events = []
  const onEvent = (event) => events.push(event)
  const stranger = opens(new Verifier({ endpoints: [strict.url], fallback: 'ask', onEvent }))
  const outage = (error) => error instanceof Unavailable && error.reason === 'CALLER_NOT_ALLOWED'
  await assert.rejects(stranger.verify(accessToken), outage)
  const lost = await until('it is lost', () => events.find(({ kind }) => kind === 'lost'))
  assert.ok(outage(lost.error))
  const calls = opens(new Countersign({ endpoints: [strict.url] }))
  await assert.rejects(calls.verify({ accessToken }), (error) => error instanceof Forbidden)
  const verifier = opens(new Verifier({ endpoints: [strict.url], serviceToken }))
  await verifier.ready()
  assert.equal(verifier.verifyNow(accessToken).audience[0], 'internal')
  await opens(new Countersign({ endpoints: [strict.url], serviceToken })).verify({ accessToken })
})

/** Makes a key and a certificate, by a CA of its own. */
function certificate(name, names) {
  const path = (end) => join(job.directory, `${name}-${end}`)
  const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  const openssl = (...words) => execFileSync('openssl', [...made, ...words], { stdio: 'ignore' })
  openssl('-subj', `/CN=ca of ${name}`, '-keyout', path('ca.key'), '-out', path('ca.pem'))
  const by = ['-CA', path('ca.pem'), '-CAkey', path('ca.key'), '-addext', 'basicConstraints=critical,CA:FALSE']
  openssl('-subj', `/CN=${name}`, '-keyout', path('key'), '-out', path('pem'), ...by, '-addext', `subjectAltName=${names}`)
  const files = { ca: path('ca.pem'), cert: path('pem'), key: path('key') }
  return { files, ...Object.fromEntries(Object.entries(files).map(([it, file]) => [it, readFileSync(file)])) }
}

test('certificates say who is called and who calls', async () => {
  const [server, caller] = [certificate('server', 'DNS:auth.test'), certificate('caller', 'DNS:orders.test')]
  const files = ['--tls-cert-file', server.files.cert, '--tls-key-file', server.files.key]
  const secure = await job.serve('secure', dev, ...files, '--tls-client-ca-file', caller.files.ca)
  const endpoints = [secure.url.replace('http:', 'https:')]
  const { accessToken } = await login()
  const verifierOf = (tls) => opens(new Verifier({ endpoints, tls }))
  const verifier = verifierOf({ ca: server.ca, cert: caller.cert, key: caller.key, serverName: 'auth.test' })
  await verifier.ready()
  assert.equal(verifier.verifyNow(accessToken).audience[0], 'internal')
  const known = { ca: server.ca, cert: caller.cert, key: caller.key }
  const outages = [
    { ...known },
    { ca: server.ca, serverName: 'auth.test' },
    { ...known, ca: undefined, serverName: 'auth.test' },
  ]
  for (const tls of outages) {
    const calls = opens(new Countersign({ endpoints, tls, deadline: 500 }))
    await assert.rejects(calls.getJwks(), { name: 'Unavailable' })
  }
})
