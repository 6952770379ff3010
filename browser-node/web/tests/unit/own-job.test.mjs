// The progress of a job while it is prepared, and while it runs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./module.mjs";

const { OwnJob } = await load("own-job.ts");

/** A job whose compiler and files answer when a test says so. */
function prepared() {
  const now = {};
  const tab = {
    compile(_name, _source, tell) {
      now.tell = (event) => tell(JSON.stringify(event));
      return new Promise((resolve) => {
        now.compiled = () => resolve({ free() {} });
      });
    },
    submit: async () => "id",
  };
  const storage = {
    plan(_files, _options, progress) {
      now.read = progress;
      return new Promise((resolve) => {
        now.planned = (notes = []) => resolve({ inputs: "", notes });
      });
    },
    merge: async () => ({ lines: 0, keys: 0, bytes: 0, blob: new Blob() }),
    forget: async () => {},
  };
  return { job: new OwnJob(tab, storage, { source: "" }), now };
}

test("it is compiling until it is compiled, however far its files are read", async () => {
  const { job, now } = prepared();
  const progress = job.progress();
  const next = async () => (await progress.next()).value;
  assert.deepEqual(await next(), { phase: "compiling", bytes: 0, of: 0 });
  now.read(10, 10);
  assert.deepEqual(await next(), { phase: "compiling", bytes: 10, of: 10, said: "" });
  now.tell({ event: "phase", text: "waiting for a compiler" });
  assert.deepEqual(await next(), { phase: "compiling", bytes: 10, of: 10, said: "waiting for a compiler" });
  now.compiled();
  assert.deepEqual(await next(), { phase: "reading", bytes: 10, of: 10, said: "" });
  now.planned();
  await job.result();
});

test("it is reading while files are, after it was compiled, and not once it runs", async () => {
  const { job, now } = prepared();
  const phases = [];
  const all = (async () => {
    for await (const { phase } of job.progress()) phases.push(phase);
  })();
  now.compiled();
  await new Promise((resolve) => setImmediate(resolve));
  now.read(1, 10);
  await new Promise((resolve) => setImmediate(resolve));
  now.planned();
  await job.result();
  now.read(10, 10);
  await all;
  assert.deepEqual(phases.filter((phase, i) => phase !== phases[i - 1]), ["compiling", "reading", "merging", "done"]);
});

test("an error has the library's names for options", async () => {
  const failed = new Error("the job failed: ask for less with --task-memory");
  const tab = { compile: async () => ({ free() {} }), submit: () => Promise.reject(failed) };
  const storage = { plan: async () => ({ inputs: "", notes: [] }), forget: async () => {} };
  await assert.rejects(new OwnJob(tab, storage, { source: "" }).result(), /ask for less with `taskMemory`/);
});

/** A job that runs: `next` reports some events and then progress, which it returns; `end` ends the job. */
async function running() {
  let tell = () => {};
  let end = () => {};
  const tab = {
    compile: async () => ({ free() {} }),
    submit: (_compiled, _spec, _unwanted, sink) => {
      tell = (event) => sink(JSON.stringify(event));
      return new Promise((resolve) => {
        end = () => resolve("id");
      });
    },
  };
  const storage = {
    plan: async () => ({ inputs: "", notes: [] }),
    merge: async () => ({ lines: 0, keys: 0, bytes: 0, blob: new Blob() }),
    forget: async () => {},
  };
  const job = new OwnJob(tab, storage, { source: "" });
  const progress = job.progress();
  await new Promise((resolve) => setImmediate(resolve));
  const next = async (...events) => {
    for (const event of events) tell(event);
    tell({ event: "progress", stages: [], workers: 1, shufflers: 1, failures: 0 });
    return (await progress.next()).value;
  };
  return {
    next,
    async end() {
      end();
      await job.result();
    },
  };
}

test("while it runs and no task ends, its progress says what it waits for", async () => {
  const job = await running();
  const said = async (...events) => {
    const { phase, said } = await job.next(...events);
    return [phase, said];
  };
  assert.deepEqual(await said(), ["running", undefined]);
  assert.deepEqual(await said({ event: "waiting", why: "no worker is connected" }), ["running", "no worker is connected"]);
  assert.deepEqual(await said({ event: "waiting_over", seconds: 5 }), ["running", undefined]);
  await job.end();
});

test("its progress has the number of finished tasks that run again", async () => {
  const job = await running();
  assert.equal((await job.next()).revoked, 0);
  assert.equal((await job.next({ event: "revoked", stage: "map", tasks: 3 })).revoked, 3);
  assert.equal((await job.next({ event: "revoked", stage: "reduce", tasks: 2 })).revoked, 5);
  await job.end();
});

test("notes on its inputs are known once they are read, while it is still compiled", async () => {
  const { job, now } = prepared();
  assert.deepEqual(job.notes, []);
  const progress = job.progress();
  await progress.next();
  now.planned(["a.txt.gz is compressed"]);
  // The next event shows a change, before anything else happens.
  assert.equal((await progress.next()).value.phase, "compiling");
  assert.deepEqual(job.notes, ["a.txt.gz is compressed"]);
  now.compiled();
  await job.result();
  assert.deepEqual(job.notes, ["a.txt.gz is compressed"]);
});
