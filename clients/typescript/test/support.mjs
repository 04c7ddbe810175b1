// Servers under test, a wire that can be cut, and waiting.
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

const binary = process.env.COUNTERSIGN_BINARY
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(COUNTERSIGN_|PG)/.test(name)))

/** Asks until the answer is true; gives the answer. */
export async function until(what, condition, seconds = 20) {
  const end = performance.now() + seconds * 1000
  while (performance.now() < end) {
    const answer = await condition()
    if (answer) return answer
    await pause(10)
  }
  throw new Error(`not within ${seconds} s: ${what}`)
}

/** The status and the headers that count of an answer. */
export async function asked(url, token, path = '/orders') {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const answer = await fetch(url + path, { headers })
  const [reason, challenge, retry] = ['countersign-reason', 'www-authenticate', 'retry-after'].map((it) =>
    answer.headers.get(it),
  )
  return { status: answer.status, text: await answer.text(), reason, challenge, retry }
}

/** Servers of a test file, which end with it. */
export class Job {
  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), 'countersign-typescript-'))
    // Postgres runs as another user, and has to enter it.
    chmodSync(this.directory, 0o755)
    this.ends = []
  }

  async dev(name, ...settings) {
    const data = join(this.directory, name)
    const server = this.#spawn(name, 'dev', '--data-dir', data, ...settings)
    const ready = () => server.runs() && server.out.includes('Countersign is ready') && existsSync(join(data, 'dev.json'))
    await until(`${name} is ready`, ready, 60)
    server.facts = JSON.parse(readFileSync(join(data, 'dev.json'), 'utf8'))
    return Object.assign(server, { url: `http://${server.facts.grpc_addr}` })
  }

  /** A replica beside `dev`, on the same database. */
  async serve(name, dev, ...settings) {
    const database = ['--database-url', dev.facts.database_url, '--master-key-file', dev.facts.master_key_file]
    const server = this.#spawn(name, 'serve', '--log-format', 'json', '--lame-duck', '0s', ...database, ...settings)
    const lines = () =>
      server.err
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line).fields)
    const serving = () => server.runs() && lines().find(({ message }) => message === 'serving')
    const { grpc } = await until(`${name} serves`, serving, 60)
    return Object.assign(server, { url: `http://${grpc}` })
  }

  /** A subcommand, run to its end. */
  command(dev, ...words) {
    const { database_url, master_key_file } = dev.facts
    const env = { ...environment, COUNTERSIGN_DATABASE_URL: database_url, COUNTERSIGN_MASTER_KEY_FILE: master_key_file }
    const { status, stdout, stderr } = spawnSync(binary, words, { env, encoding: 'utf8', timeout: 30_000 })
    if (status !== 0) throw new Error(stderr)
    return stdout
  }

  /** A subcommand that runs while other work goes on, to its end. */
  async started(dev, ...words) {
    const { database_url, master_key_file } = dev.facts
    const env = { ...environment, COUNTERSIGN_DATABASE_URL: database_url, COUNTERSIGN_MASTER_KEY_FILE: master_key_file }
    const child = spawn(binary, words, { env, stdio: ['ignore', 'ignore', 'pipe'] })
    let err = ''
    child.stderr.on('data', (data) => (err += data))
    const code = await new Promise((resolve) => child.on('close', resolve))
    if (code !== 0) throw new Error(err)
  }

  /** A process of Node, which ends with the job. */
  node(...words) {
    return this.#keep(spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] }))
  }

  async end() {
    for (const end of this.ends.reverse()) await end()
    rmSync(this.directory, { recursive: true, force: true })
  }

  #spawn(name, ...words) {
    const addresses = ['--http-addr', '127.0.0.1:0', '--grpc-addr', '127.0.0.1:0']
    const child = spawn(binary, [...words, ...addresses], { env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
    return this.#keep(child, name)
  }

  #keep(process, name = 'a process of Node') {
    const server = { process, out: '', err: '', runs: () => true }
    process.stdout.on('data', (data) => (server.out += data))
    process.stderr.on('data', (data) => (server.err += data))
    const ended = new Promise((resolve) => process.on('close', resolve))
    server.runs = () => {
      if (process.exitCode !== null) throw new Error(`${name} has ended: ${server.err.slice(-2000)}`)
      return true
    }
    server.stop = async () => {
      process.kill('SIGCONT')
      process.kill('SIGTERM')
      await ended
    }
    this.ends.push(server.stop)
    return server
  }
}

/** A wire to an address, that can be cut and held. */
export class Wire {
  #pairs = new Set()
  #held = false
  #cut = false
  #losing = false

  static async to(url) {
    const wire = new Wire()
    const { hostname, port } = new URL(url)
    wire.server = createServer((near) => wire.#join(near, connect(Number(port), hostname)))
    await new Promise((resolve) => wire.server.listen(0, '127.0.0.1', resolve))
    wire.url = `http://127.0.0.1:${wire.server.address().port}`
    return wire
  }

  #join(near, far) {
    const pair = [near, far]
    if (this.#cut) return pair.forEach((socket) => socket.destroy())
    this.#pairs.add(pair)
    for (const [from, to] of [pair, [far, near]]) {
      let lost = 0
      from.on('data', (data) => {
        if (from === near || !this.#losing) return to.write(data)
        lost += data.length
        // Not only what keeps a connection alive: there was an answer.
        if (lost > 300) {
          this.#losing = false
          pair.forEach((socket) => socket.destroy())
        }
      })
      from.on('error', () => {})
      from.on('close', () => {
        to.destroy()
        this.#pairs.delete(pair)
      })
      if (this.#held) from.pause()
    }
  }

  /** Lets nothing through, and closes nothing. */
  hold() {
    this.#held = true
    for (const pair of this.#pairs) pair.forEach((socket) => socket.pause())
  }

  release() {
    this.#held = false
    for (const pair of this.#pairs) pair.forEach((socket) => socket.resume())
  }

  /** Loses the next answer, and closes its connection. */
  lose() {
    this.#losing = true
  }

  get hasLost() {
    return !this.#losing
  }

  /** Closes all, and lets nobody in. */
  cut() {
    this.#cut = true
    for (const pair of this.#pairs) pair.forEach((socket) => socket.destroy())
  }

  mend() {
    this.#cut = false
  }

  close() {
    this.cut()
    this.server.close()
  }
}
