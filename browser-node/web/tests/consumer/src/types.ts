// The library's types as a user sees them; this file is type-checked and never run.

import {
  AssetError,
  CompileError,
  CrashError,
  type Diagnostic,
  type Given,
  type Job,
  JobError,
  JoinError,
  type JoinOptions,
  join,
  type Mesh,
  newIdentity,
  type Peer,
  type Progress,
  type Result,
  type StageProgress,
  type Status,
  type SubmitOptions,
  type TaskFailure,
} from "webmesh";

const options: JoinOptions = { bootstrap: ["/ip4/192.0.2.1/tcp/1"], assets: "/webmesh/", identity: newIdentity() };

export async function submit(submitted: SubmitOptions): Promise<Result> {
  const mesh: Mesh = await join(options);
  const { peers, given: all }: Status = await mesh.status();
  const given: Given = all;
  const connected: Peer[] = peers.filter((peer) => peer.connected && given.tasks > 0);
  const job: Job = mesh.submit(submitted);
  for await (const progress of job.progress()) stages(progress, connected.length);
  const failures: readonly TaskFailure[] = job.failures;
  return failures.length > 0 ? Promise.reject(new JobError("failed")) : job.result();
}

function stages(progress: Progress, _peers: number): readonly StageProgress[] {
  return progress.phase === "running" ? progress.stages : [];
}

export function explain(error: unknown): string | Diagnostic[] {
  if (error instanceof AssetError) return error.url ?? error.message;
  if (error instanceof JoinError || error instanceof CrashError) return error.message;
  return error instanceof CompileError ? error.diagnostics : "";
}

// @ts-expect-error Unknown options are refused: without types, anything would be accepted.
join({ treads: 1 });
