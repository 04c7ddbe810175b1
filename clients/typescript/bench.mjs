// What a verification costs, and how long a revoked token lives on: `node bench.mjs [BINARY]`, after `npm run build`.
// Or the memory that so many revocations take, a million unless said: `node --expose-gc bench.mjs --revocations [COUNT]`.
import { createPublicKey, randomUUID, verify } from 'node:crypto'
import { Countersign, systemClock, Verifier } from '@countersign/client'
import { momentOf } from './dist/core/clock.js'
import { AuthService } from './dist/protocol.js'
import { answer, at, CLAIMS, knowing, NOW, Signer, time } from './test/signer.mjs'

if (process.argv[2] === '--revocations') {
  await memory(Number(process.argv[3] ?? 1_000_000))
  process.exit()
}

/** A part of a snapshot as it comes over the wire: sessions that were revoked one after the other in three hours. */
function snapshotPart(count) {
  const { responseSerialize, responseDeserialize } = AuthService.service.WatchRevocations
  const one = (_, n) => ({ sessionId: randomUUID(), expiresAt: { ...time(NOW + (10_800 * n) / count), nanos: n } })
  return responseDeserialize(responseSerialize({ snapshot: { revocations: Array.from({ length: count }, one) } }))
}

async function memory(count) {
  const knowledge = knowing([])
  const part = () => snapshotPart(10_000).snapshot
  knowledge.tell('snapshot', part())
  const used = async () => {
    for (let n = 0; n < 3; n += 1) {
      globalThis.gc()
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }
  const before = await used()
  let took = 0
  for (let n = 0; n < count / 10_000; n += 1) {
    const said = part()
    const began = performance.now()
    knowledge.tell('snapshot', said, at(n))
    took += performance.now() - began
  }
  const each = ((await used()) - before) / count
  console.log(`${count} revocations: ${Math.round(each)} bytes and ${((took * 1000) / count).toFixed(1)} us for each`)
  const began = performance.now()
  knowledge.beat(count / 10_000)
  console.log(`a look for those that are over: ${(performance.now() - began).toFixed(1)} ms`)
}

const signer = new Signer()
const now = at(1)

function measure(name, count, work) {
  for (let n = 0; n < count / 10; n += 1) work(n)
  const runs = Array.from({ length: 5 }, () => {
    const began = process.hrtime.bigint()
    for (let n = 0; n < count; n += 1) work(n)
    return Number(process.hrtime.bigint() - began) / count
  })
  runs.sort((a, b) => a - b)
  console.log(`${name}: ${Math.round(runs[2])} ns`)
}

const token = signer.token()
const [message, signature] = [
  Buffer.from(token.slice(0, token.lastIndexOf('.'))),
  Buffer.from(token.split('.')[2], 'base64url'),
]
const key = createPublicKey({ key: signer.jwk, format: 'jwk' })
measure('bare signature', 4000, () => verify(null, message, key, signature))
const forgetful = knowing([signer.jwk], { remembered: 0 })
measure('not remembered', 4000, () => forgetful.verify(token, 'orders', now))
const tokens = Array.from({ length: 1000 }, (_, n) => signer.token({ ...CLAIMS, jti: String(n) }))
const knowledge = knowing([signer.jwk], { remembered: 10_000 })
if (tokens.some((it) => answer(knowledge, it) !== 'OK')) throw new Error('not accepted')
measure('remembered, the same text', 1_000_000, (n) => knowledge.verify(tokens[n % 1000], 'orders', now))
measure('both clocks', 1_000_000, () => momentOf(systemClock))
const headers = tokens.map((it) => Buffer.from(`Bearer ${it}`))
measure('a text from bytes, alone', 200_000, (n) => headers[n % 1000].latin1Slice(7))
measure('remembered, a text from bytes', 200_000, (n) => knowledge.verify(headers[n % 1000].latin1Slice(7), 'orders', now))

const [binary] = process.argv.slice(2)
if (binary !== undefined) {
  process.env.COUNTERSIGN_BINARY = binary
  const { Job } = await import('./test/support.mjs')
  const job = new Job()
  const dev = await job.dev('dev')
  const replica = await job.serve('replica', dev)
  for (const [name, url] of [
    ['the same replica', dev.url],
    ['another replica', replica.url],
  ])
    await refusals(name, dev, url)
  await job.end()
}

/** The time from the call of Revoke, and from its answer, until a verifier refuses. */
async function refusals(name, dev, url) {
  const client = new Countersign({ endpoints: [dev.url] })
  const verifier = new Verifier({ endpoints: [url] })
  await verifier.ready()
  const isOk = (token) => {
    try {
      return verifier.verifyNow(token) !== undefined
    } catch {
      return false
    }
  }
  const [fromCall, fromAnswer] = [[], []]
  for (let n = 0; n < 200; n += 1) {
    const { username, password } = dev.facts
    const { tokens } = await client.login({ username, password })
    if (!isOk(tokens.accessToken)) throw new Error('not accepted')
    const called = performance.now()
    let answered
    const revoked = client.revoke({ refreshToken: tokens.refreshToken, wait: { seconds: '0', nanos: 0 } })
    revoked.then(() => (answered = performance.now()))
    while (isOk(tokens.accessToken)) await new Promise((resolve) => setImmediate(resolve))
    const refused = performance.now()
    await revoked
    fromCall.push(refused - called)
    fromAnswer.push(Math.max(refused - answered, 0))
  }
  verifier.close()
  client.close()
  const at = (times, part) => times.sort((a, b) => a - b)[Math.floor(times.length * part)].toFixed(1)
  const both = (times) => `p50 ${at(times, 0.5)} ms, p99 ${at(times, 0.99)} ms`
  console.log(`refused after Revoke at ${name}: ${both(fromCall)} from the call, ${both(fromAnswer)} from the answer`)
}
