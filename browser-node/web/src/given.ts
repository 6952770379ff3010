// How much of its processor and memory a tab has given.

/** What a tab has done for others. */
export interface Given {
  tasks: number;
  failures: number;
  /** Task time, in milliseconds, summed over all Workers. */
  millis: number;
  /** Each task's time by the memory that it had, in gigabytes (10^9 bytes) and seconds. */
  gigabyteSeconds: number;
}
