// Copies the contract and the licence into the package.
import { cpSync } from 'node:fs'

const path = (name) => new URL(name, import.meta.url)
cpSync(path('../../../proto/countersign'), path('../protos/countersign'), { recursive: true })
cpSync(path('../../../LICENSE'), path('../LICENSE'))
