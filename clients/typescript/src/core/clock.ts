/** A source of time, in milliseconds. */
export interface Clock {
  /** The time since some moment, by a clock that nobody sets. */
  steady(): number
  /** The time since 1970. */
  wall(): number
}

/**
 * A moment by two clocks of one machine. What has passed since is the larger of what the two say: the steady clock of Node stands
 * still while the machine sleeps, and the wall clock may be set.
 */
export interface Moment {
  readonly steady: number
  readonly wall: number
}

/** The machine's clocks. */
export const systemClock: Clock = { steady: () => performance.now(), wall: () => Date.now() }

/** Both clocks at once. */
export function momentOf(clock: Clock): Moment {
  return { steady: clock.steady(), wall: clock.wall() }
}

/** The milliseconds from `earlier` to `later`: the larger of what the two clocks say, and never less than zero. */
export function since(later: Moment, earlier: Moment): number {
  return Math.max(later.steady - earlier.steady, later.wall - earlier.wall, 0)
}

/** Whole seconds since 1970; zero before. */
export function seconds(milliseconds: number): number {
  return Math.max(Math.floor(milliseconds / 1000), 0)
}

/** Heartbeats that are kept: one that was late on its way says too little, so the largest of some counts. */
const KEPT = 8
/** A step of this machine's wall clock: so many milliseconds that its other clock did not count. */
const STEP = 500

/** The service's wall clock, as the heartbeats of a stream tell it: this machine's may be wrong. */
export class ClockAhead {
  #samples: number[] = []
  #last: Moment | undefined

  /**
   * Takes in what the service's clock was when it sent a heartbeat. Gives the milliseconds by which it is ahead of this machine's.
   */
  hear(sentAt: number, now: Moment): number {
    if (this.#last !== undefined) {
      const stepped = now.wall - this.#last.wall - (now.steady - this.#last.steady)
      if (Math.abs(stepped) > STEP) this.#samples = []
    }
    this.#last = now
    this.#samples.push(sentAt - now.wall)
    if (this.#samples.length > KEPT) this.#samples.shift()
    return Math.max(...this.#samples)
  }
}
