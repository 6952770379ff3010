// How much processor time and memory a tab has contributed.

/** A tab's contribution. */
export interface Given {
  tasks: number;
  failures: number;
  /** Task time, in milliseconds, summed over all Workers. */
  millis: number;
  /** Sum of each task's time multiplied by its memory, in gigabytes (10^9 bytes) times seconds. */
  gigabyteSeconds: number;
}
