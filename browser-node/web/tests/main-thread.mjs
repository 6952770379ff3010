// What the main thread of a page does: Chromium's own trace of its tasks.

const MILLIS = 1000;
/** What the loop of [`slowness`] takes on that machine. */
const LOOP_MILLIS = 23;
const MARK = "the page's main thread";

/**
 * The tasks of the main thread while something is done to a page, in milliseconds: `cpu` of the thread's own time, and
 * `duration` by the clock, which a busy machine makes longer.
 */
export async function mainThreadTasks(page, doing) {
  await page.tracing.start({ categories: ["toplevel", "blink.user_timing"] });
  // The browser's other pages have main threads too: this tells which is the page's.
  await page.evaluate((mark) => performance.mark(mark), MARK);
  await doing();
  const { traceEvents } = JSON.parse(Buffer.from(await page.tracing.stop()).toString());
  const thread = ({ pid, tid }) => `${pid}/${tid}`;
  const main = thread(traceEvents.find(({ name }) => name === MARK));
  const tasks = traceEvents.filter((event) => event.name.endsWith("RunTask") && event.dur && thread(event) === main);
  // Those of no more than microseconds have no time of their own.
  return tasks.map(({ dur, tdur = 0 }) => ({ cpu: tdur / MILLIS, duration: dur / MILLIS }));
}

/** How many times as long as on the machine of docs/benchmarks.md a page's thread takes for the same; 1 at least. */
export async function slowness(page) {
  const millis = await page.evaluate(() => {
    const times = Array.from({ length: 5 }, () => {
      const start = performance.now();
      let sum = 0;
      for (let i = 0; i < 5_000_000; i++) sum = (Math.imul(sum, 31) + i) | 0;
      return [performance.now() - start, sum][0];
    });
    // The best is that which nothing else disturbed.
    return Math.min(...times);
  });
  return Math.max(1, millis / LOOP_MILLIS);
}
