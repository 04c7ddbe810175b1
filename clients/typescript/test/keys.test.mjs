// Keys that are rotated and killed while tokens are verified all the while.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { after, before, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Countersign, Verifier } from '@countersign/client'
import { Job, until } from './support.mjs'

const job = new Job()
const opened = []
let dev, client

before(async () => {
  dev = await job.dev('dev')
  client = new Countersign({ endpoints: [dev.url] })
  opened.push(client)
})
after(async () => {
  opened.forEach((it) => it.close())
  await job.end()
})

const login = async () => (await client.login({ username: dev.facts.username, password: dev.facts.password })).tokens
const kidOf = (token) => JSON.parse(Buffer.from(token.split('.')[0], 'base64url')).kid

async function verifierOf(settings) {
  const verifier = new Verifier({ endpoints: [dev.url], ...settings })
  opened.push(verifier)
  await verifier.ready()
  return verifier
}

/** Verifies the last tokens of a list until it is over, in tasks of their own. */
function load(verifiers, tokens, note) {
  const state = { over: false, looks: 0 }
  const work = async (verifier, verify) => {
    while (!state.over) {
      for (const token of tokens.slice(-20)) {
        const asked = performance.now()
        const reason = await verify(verifier, token).then(
          () => 'OK',
          (error) => error.reason,
        )
        state.looks += 1
        note(token, reason, asked)
      }
      await turn()
    }
  }
  const ways = [(it, token) => it.verify(token), async (it, token) => it.verifyNow(token)]
  const works = verifiers.flatMap((verifier) => ways.map((verify) => work(verifier, verify)))
  state.end = () => ((state.over = true), Promise.all(works))
  return state
}

test('no valid token is refused while keys rotate', async () => {
  // One without a memory, so that each look needs the key.
  const verifiers = [await verifierOf({}), await verifierOf({ remembered: 0 })]
  let tokens = await login()
  const [before, all, wrong] = [kidOf(tokens.accessToken), [], []]
  const state = load(verifiers, all, (token, reason) => reason === 'OK' || wrong.push([kidOf(token), reason]))
  const another = async () => {
    tokens = (await client.refresh({ refreshToken: tokens.refreshToken })).tokens
    all.push(tokens.accessToken)
    return kidOf(tokens.accessToken) !== before
  }
  try {
    for (let n = 0; n < 20; n += 1) await another()
    // As if the next key had been published for a day.
    execFileSync('psql', ['-qc', 'UPDATE keys SET stage_at_ms = stage_at_ms - 86400000', dev.facts.database_url])
    await job.started(dev, 'keys', 'rotate')
    await until('the next key signs', another)
    for (let n = 0; n < 50; n += 1) await another()
  } finally {
    await state.end()
  }
  assert.deepEqual(wrong, [])
  assert.ok(state.looks > 200)
  assert.equal(new Set(all.map(kidOf)).size, 2)
})

test('a key that is killed takes its tokens at once', async (t) => {
  const tokens = (await Promise.all([login(), login()])).map(({ accessToken }) => accessToken)
  let last = 0
  const state = load([await verifierOf({ maxStaleness: 10_000 })], tokens, (_, reason, asked) => {
    if (reason === 'OK') last = asked
  })
  let killed
  try {
    await until('they are accepted', () => last > 0)
    await job.started(dev, 'keys', 'kill', kidOf(tokens[0]))
    killed = performance.now()
    const over = killed + 2500
    await until('it could have been accepted again', () => performance.now() > over)
  } finally {
    await state.end()
  }
  t.diagnostic(`the last was accepted ${(last - killed).toFixed(1)} ms after the key was killed`)
  assert.ok(last - killed < 800, String(last - killed))
})
