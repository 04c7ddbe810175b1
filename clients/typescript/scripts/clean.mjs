// Removes what a build has made.
import { rmSync } from 'node:fs'

for (const made of ['dist', 'protos', 'LICENSE']) {
  rmSync(new URL(`../${made}`, import.meta.url), { recursive: true, force: true })
}
