// What every verifier answers alike: all cases of clients/conformance.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { Knowledge, Stream } from '../dist/core/knowledge.js'
import { checkDemand } from '../dist/demand.js'

const { epoch, cases } = JSON.parse(readFileSync(new URL('../../conformance/cases.json', import.meta.url), 'utf8'))

const time = (seconds) => {
  const whole = Math.trunc(seconds)
  return { seconds: String(whole), nanos: Math.round((seconds - whole) * 1e9) }
}

function revocation({ session_id, user, opened_before, expires_at }) {
  const expiresAt = time(expires_at)
  if (session_id !== undefined) return { subject: 'sessionId', sessionId: session_id, expiresAt }
  if (user) return { subject: 'user', user: { userId: user.user_id, leastEpoch: String(user.least_epoch) }, expiresAt }
  if (opened_before !== undefined) return { subject: 'openedBefore', openedBefore: time(opened_before), expiresAt }
  return { expiresAt }
}

const part = ({ revocations, position }) => ({ revocations: revocations.map(revocation), position })

function message({ keys, snapshot, additions, heartbeat }) {
  if (keys) return { event: 'keys', keys }
  if (snapshot) return { event: 'snapshot', snapshot: part(snapshot) }
  if (additions) return { event: 'additions', additions: part(additions) }
  const { complete_as_of, sent_at } = heartbeat
  const sentAt = sent_at === undefined ? null : time(sent_at)
  return { event: 'heartbeat', heartbeat: { completeAsOf: time(complete_as_of), sentAt } }
}

function answer(knowledge, { token, audience, role }, now) {
  try {
    checkDemand({ roles: role === undefined ? [] : [role] }, knowledge.verify(token, audience, now))
    return 'OK'
  } catch (error) {
    if (error.isOutage === undefined) throw error
    return error.isOutage ? 'UNAVAILABLE' : error.reason
  }
}

function run({ settings, steps }) {
  const { issuer, max_staleness = 10, clock_ahead = 0 } = settings
  const knowledge = new Knowledge({ issuer, maxStaleness: max_staleness * 1000, leeway: 0, remembered: 100 })
  let stream
  for (const [place, step] of steps.entries()) {
    const now = { steady: 7 + step.at * 1000, wall: (epoch + clock_ahead + step.at) * 1000 }
    if (step.call) {
      stream = new Stream(now)
    } else if (step.hear) {
      const hear = () => knowledge.hear(stream, message(step.hear), now)
      if (step.fails) assert.throws(hear, { isOutage: true }, `step ${place}`)
      else hear()
    } else {
      assert.equal(answer(knowledge, step.verify, now), step.expect, `step ${place}`)
    }
  }
}

test('the verifier answers as all verifiers do', async (t) => {
  assert.ok(cases.length >= 179)
  for (const it of cases) await t.test(it.name, () => run(it))
})
