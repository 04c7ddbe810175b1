// A process that answers about tokens: `stopped.mjs COUNTERSIGN BOUND`.
import { Verifier } from '@countersign/client'

const [endpoint, bound] = process.argv.slice(2)
const verifier = new Verifier({ endpoints: [endpoint], maxStaleness: Number(bound) })
process.on('message', (token) => {
  try {
    verifier.verifyNow(token)
    process.send('OK')
  } catch (error) {
    process.send(error.reason)
  }
})
