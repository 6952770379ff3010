//! Runs one simulated scenario and prints its report: the way to replay a failing seed.
//!
//! `cargo run --release -p webmesh-protocol --features sim --example simulate -- --seed 7 --peers 100 --tasks 10000`
//! Every flag has a default; `--help` lists them.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use webmesh_protocol::sim::{Fault, Job, Lie, Scenario, run};

const HELP: &str = "\
--random         a small mesh with random faults, drawn from the seed; other flags are ignored
--seed N         seed of everything random (1)
--peers N        workers (100)
--threads N      tasks that each worker runs at once (1)
--shufflers N    workers that are shufflers too (2)
--tasks N        map tasks of each job (10000)
--jobs N         jobs (1)
--apart SECS     time between the submissions of two jobs (1)
--submitters N   submitters, which submit the jobs in turn (1)
--millis N       duration of a map task (1000)
--slowest X      the slowest peer takes X times as long as the fastest (1)
--shards N       shards of the map stage (from the number of peers)
--partitions N   partitions of the shuffle (8)
--buckets N      reduce tasks (from the number of peers)
--replicas N     copies of each partition (1)
--pack N         documents in packs of N, instead of numbers
--delay MIN MAX  delay between two peers in milliseconds (50 200)
--loss X         share of messages lost (0)
--churn MILLIS   interval at which a worker is killed and another joins (never)
--kill-shuffler SECS  time after which a shuffler of the first job is killed (never)
--strangers N    identities that claim blocks and run nothing (0)
--deadline SECS  virtual time after which the simulation is aborted (3600)
--log            prints the engines' logs
--watch          prints every claim, run, request and answer too";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--help") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match scenario(&args) {
        Ok(mut scenario) => {
            scenario.watched = args.iter().any(|a| a == "--watch");
            let started = Instant::now();
            let report = run(&scenario);
            if args.iter().any(|a| a == "--log" || a == "--watch") {
                for (at, peer, text) in &report.log {
                    println!("{:9.3} peer {peer}: {text}", at.as_secs_f64());
                }
            }
            print!("{report}");
            println!("simulated in {:.1} s", started.elapsed().as_secs_f64());
            if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("{why}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn scenario(args: &[String]) -> Result<Scenario, String> {
    let seed = value(args, "--seed", 1)?.unwrap_or(1);
    if args.iter().any(|a| a == "--random") {
        return Ok(Scenario::random(seed));
    }
    let peers = value(args, "--peers", 1)?.unwrap_or(100);
    let mut scenario = Scenario::new(seed, peers).far_apart();
    scenario.threads = value(args, "--threads", 1)?.unwrap_or(1);
    scenario.shufflers = value(args, "--shufflers", 1)?.unwrap_or(2).min(peers);
    scenario.slowest = value(args, "--slowest", 1)?.unwrap_or(1.0);
    scenario.links.loss = value(args, "--loss", 1)?.unwrap_or(0.0);
    if let (Some(least), Some(most)) = (value(args, "--delay", 1)?, value(args, "--delay", 2)?) {
        scenario.links.delay = (Duration::from_millis(least), Duration::from_millis(most));
    }
    scenario.churn = value(args, "--churn", 1)?.map(Duration::from_millis);
    scenario.deadline = Duration::from_secs(value(args, "--deadline", 1)?.unwrap_or(3600));
    if let Some(at) = value(args, "--kill-shuffler", 1)? {
        scenario.faults.push((Duration::from_secs(at), Fault::KillShuffler(0)));
    }
    let count = value(args, "--strangers", 1)?.unwrap_or(0);
    if count > 0 {
        let (every, until) = (Duration::from_millis(100), scenario.deadline);
        scenario.faults.push((Duration::ZERO, Fault::Strangers { count, every, until, lie: Lie::Holds }));
    }
    let tasks = value(args, "--tasks", 1)?.unwrap_or(10_000);
    let mut job = Job::new(tasks, Duration::from_millis(value(args, "--millis", 1)?.unwrap_or(1000)), peers);
    job.shards = value(args, "--shards", 1)?.unwrap_or(job.shards);
    job.partitions = value(args, "--partitions", 1)?.unwrap_or(job.partitions);
    job.buckets = value(args, "--buckets", 1)?.unwrap_or(job.buckets);
    job.replicas = value(args, "--replicas", 1)?.unwrap_or(job.replicas);
    job.pack = value(args, "--pack", 1)?;
    scenario.submitters = value(args, "--submitters", 1)?.unwrap_or(1);
    let apart = Duration::from_secs(value(args, "--apart", 1)?.unwrap_or(1));
    for i in 0..value(args, "--jobs", 1)?.unwrap_or(1) {
        scenario.jobs.push(Job { at: job.at + apart * i, submitter: i % scenario.submitters, ..job.clone() });
    }
    Ok(scenario)
}

/// The value `place` words after a flag, if the flag is there.
fn value<T: FromStr>(args: &[String], flag: &str, place: usize) -> Result<Option<T>, String> {
    let Some(at) = args.iter().position(|a| a == flag) else { return Ok(None) };
    let text = args.get(at + place).ok_or_else(|| format!("{flag} needs a value"))?;
    text.parse().map(Some).map_err(|_| format!("invalid value `{text}` for {flag}"))
}
