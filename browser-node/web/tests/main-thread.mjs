// Measures a page's main thread by Chromium's trace of its tasks.

const MILLIS = 1000;
/** How long the loop of [`slowness`] takes on the machine of docs/benchmarks.md. */
const LOOP_MILLIS = 23;
const MARK = "the page's main thread";

/**
 * Durations of the main thread's tasks during an action, in milliseconds: `cpu` is the thread's CPU time, and
 * `duration` the elapsed time, which is longer on a busy machine.
 */
export async function mainThreadTasks(page, doing) {
  await page.tracing.start({ categories: ["toplevel", "blink.user_timing"] });
  // The browser's other pages have main threads too: this identifies the page's.
  await page.evaluate((mark) => performance.mark(mark), MARK);
  await doing();
  const { traceEvents } = JSON.parse(Buffer.from(await page.tracing.stop()).toString());
  const thread = ({ pid, tid }) => `${pid}/${tid}`;
  const main = thread(traceEvents.find(({ name }) => name === MARK));
  const tasks = traceEvents.filter((event) => event.name.endsWith("RunTask") && event.dur && thread(event) === main);
  // Tasks of only microseconds have no CPU time in the trace.
  return tasks.map(({ dur, tdur = 0 }) => ({ cpu: tdur / MILLIS, duration: dur / MILLIS }));
}

/** How many times slower the page's thread is than on the machine of docs/benchmarks.md; at least 1. */
export async function slowness(page) {
  const millis = await page.evaluate(() => {
    const times = Array.from({ length: 5 }, () => {
      const start = performance.now();
      let sum = 0;
      for (let i = 0; i < 5_000_000; i++) sum = (Math.imul(sum, 31) + i) | 0;
      return [performance.now() - start, sum][0];
    });
    // The minimum is the least disturbed measurement.
    return Math.min(...times);
  });
  return Math.max(1, millis / LOOP_MILLIS);
}
