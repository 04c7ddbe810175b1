// The package: what is in it, what its README says, and that it installs.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { VERSION } from '@countersign/client'

const home = fileURLToPath(new URL('..', import.meta.url))
const read = (path) => readFileSync(join(home, path), 'utf8')
const run = (cwd, command, ...words) =>
  execFileSync(command, words, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

test('the contract in the package is that of the service', () => {
  const names = readdirSync(join(home, '../../proto/countersign/v1')).sort()
  assert.deepEqual(readdirSync(join(home, 'protos/countersign/v1')).sort(), names)
  for (const name of names) {
    assert.equal(read(`protos/countersign/v1/${name}`), read(`../../proto/countersign/v1/${name}`), name)
  }
})

test('the lines of the README are those of the examples, which are run', () => {
  const blocks = read('README.md')
    .split('```js\n')
    .slice(1, 4)
    .map((block) => block.split('\n```')[0].split('\n'))
  for (const [place, name] of ['express', 'fastify', 'grpc'].entries()) {
    const lines = read(`examples/${name}.mjs`).split('\n')
    for (const line of blocks[place]) assert.ok(lines.includes(line), line)
    assert.ok(blocks[place].length <= 10)
  }
})

test('versions and licences agree', () => {
  const workspace = read('../../Cargo.toml')
  const { version, license } = JSON.parse(read('package.json'))
  assert.ok(workspace.includes(`license = "${license}"`) && workspace.includes(`version = "${version}"`))
  assert.equal(VERSION, version)
  assert.equal(read('LICENSE'), read('../../LICENSE'))
})

test('the locked packages are of no other registry', () => {
  for (const { resolved } of Object.values(JSON.parse(read('package-lock.json')).packages)) {
    assert.equal(resolved, undefined)
  }
})

test('no file is longer than 300 lines', () => {
  for (const folder of ['src', 'src/core', 'test', 'examples', 'scripts']) {
    for (const name of readdirSync(join(home, folder)).filter((it) => /\.m?[jt]s$/.test(it))) {
      assert.ok(read(join(folder, name)).split('\n').length <= 301, name)
    }
  }
})

test('the types fit those of Express and Fastify', () => {
  run(home, process.execPath, 'node_modules/typescript/bin/tsc', '-p', 'test/tsconfig.json')
})

test('the package installs into an empty folder', () => {
  const empty = mkdtempSync(join(tmpdir(), 'countersign-package-'))
  try {
    const [{ filename, files }] = JSON.parse(run(home, 'npm', 'pack', '--json', '--silent', '--pack-destination', empty))
    const paths = files.map(({ path }) => path)
    for (const wanted of ['dist/index.js', 'dist/index.d.ts', 'protos/countersign/v1/auth.proto', 'LICENSE', 'README.md']) {
      assert.ok(paths.includes(wanted), wanted)
    }
    assert.ok(
      paths.every((path) => /^(dist|protos)\/|^(LICENSE|README.md|package.json)$/.test(path)),
      String(paths),
    )
    writeFileSync(join(empty, 'package.json'), '{ "private": true, "type": "module" }')
    const quietly = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline']
    run(empty, 'npm', 'install', ...quietly, `./${filename.replace('@countersign/', 'countersign-')}`)
    const script = "import { Verifier, VERSION } from '@countersign/client'; console.log(typeof Verifier, VERSION)"
    assert.equal(run(empty, process.execPath, '--input-type=module', '-e', script).trim(), `function ${VERSION}`)
  } finally {
    rmSync(empty, { recursive: true })
  }
})
