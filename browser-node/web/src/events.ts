// The events of a job, as the program reports them: the JSON of `ProgressEvent` (node/src/progress/event.rs), which has
// the meaning of each field. A test there checks that this file has every event and field.

/** The progress of one stage. */
export interface StageEvent {
  name: string;
  done: number;
  tasks: number;
  per_second: number | null;
  seconds_left: number | null;
}

/** An event of a job, or of the command that submitted it. A later version may add others. */
export type JobEvent =
  | { event: "phase" | "warnings" | "diagnostics" | "note"; text: string }
  | { event: "reading"; bytes: number; of: number }
  | {
      event: "submitted";
      job: string;
      name: string | null;
      documents: number | null;
      tasks: number | null;
      bytes: number | null;
      files: number | null;
    }
  | {
      event: "progress";
      seconds: number;
      stages: StageEvent[];
      input_bytes: number | null;
      workers: number;
      shufflers: number;
      failures: number;
      peers: number | null;
      sent_bytes: number | null;
      received_bytes: number | null;
    }
  | {
      event: "task_failed";
      stage: string;
      task: number;
      document: number | null;
      input: string | null;
      why: string;
      limit: "time" | "memory" | "output" | "input" | null;
      help: string | null;
      worker: string;
      retries_left: number;
    }
  | { event: "waiting"; peer: string | null; why: string; seconds: number }
  | { event: "waiting_over"; seconds: number }
  | { event: "revoked"; stage: string; tasks: number }
  | { event: "ended"; outcome: "done" | "cancelled" | "failed"; why: string | null; seconds: number }
  | { event: "result"; lines: number; keys: number; bytes: number; seconds: number }
  | { event: "error"; why: string }
  | { event: "log"; time: string; level: string; text: string; fields: Record<string, unknown> };
