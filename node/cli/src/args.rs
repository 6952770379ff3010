//! The command line.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use libp2p::Multiaddr;
use webmesh_node::http::{AllowedOrigin, HostName};
use webmesh_node::inputs;
use webmesh_node::net::parse_address;
use webmesh_protocol::limits;

/// The format of a result, and how to decode a key.
macro_rules! result_lines {
    () => {
        "Result lines are KEY<TAB>VALUE, sorted by the bytes of the key; values are JSON. In keys, a tab
is written \\t, a line break \\n, a carriage return \\r and a backslash \\\\, so that each pair is one
line; printf %b decodes a key. All other bytes of a key are written unchanged, UTF-8 or not."
    };
}

/// A peer-to-peer compute mesh: C++ map and reduce over native nodes and browser tabs, without a scheduler.
#[derive(Debug, Parser)]
#[command(name = "webmesh", version, max_term_width = 100)]
#[command(after_help = "Examples:
  webmesh run wordcount.cpp books/ -o counts.tsv      count words on this machine only
  webmesh node --bootstrap /ip4/192.0.2.7/tcp/4001    contribute this machine's cores to a mesh
  webmesh submit wordcount.cpp books/ --bootstrap /ip4/192.0.2.7/tcp/4001 -o counts.tsv
  webmesh jobs --bootstrap /ip4/192.0.2.7/tcp/4001    list the jobs of a mesh

Exit status: 0 success, 1 failure (the reason is on standard error), 2 wrong usage.")]
pub(crate) struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Log more to standard error (-v, -vv); `WEBMESH_LOG` takes filters such as `info,webmesh_node=debug`
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Run as the carrier of the detached job in this folder: `submit --detach` starts it
    #[arg(long, hide = true, value_name = "DIR")]
    pub(crate) carry: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a job on this machine's cores (an embedded mesh), or with --bootstrap on an existing mesh
    #[command(after_help = concat!("Examples:
  webmesh run wordcount.cpp books/                    result to standard output
  cat log | webmesh run grep.cpp -o hits.tsv          input from standard input
  zcat log.gz | webmesh run grep.cpp -                the same, with an explicit -
  webmesh run pi.cpp --tasks 1000                     no input: tasks get the numbers 0 to 999
  webmesh run job.cpp data/ --peers 4 --threads 1     four peers of one thread each

", result_lines!()))]
    Run(RunArgs),
    /// Run a job on an existing mesh, whose workers see its code and its data
    #[command(after_help = concat!("Examples:
  webmesh submit wordcount.cpp books/ --bootstrap /ip4/192.0.2.7/tcp/4001 -o counts.tsv
  webmesh submit wordcount.cpp books/ --bootstrap /ip4/192.0.2.7/tcp/4001 --detach
  webmesh results 3f7a -o counts.tsv                  later, by the job's id or a prefix of it

A detached job continues when its terminal is closed: a background process carries it. If that process is killed
or this machine goes down before the job ends, the job stops, and `webmesh resume` continues it.

", result_lines!()))]
    Submit(SubmitArgs),
    /// Continue a job whose process was killed; without JOB, list the jobs that can be continued
    #[command(after_help = concat!("Examples:
  webmesh resume                                      list the jobs that have stopped on this machine
  webmesh resume 3f7a                                 continue a job, named by a prefix of its id
  webmesh resume 3f7a -o counts.tsv                   write its result to another file than before

The job continues where it stopped. A finished task is not run again if peers still hold its output, and results
that have arrived are kept. The inputs must be unchanged. The files of a stopped job are removed after seven days.

", result_lines!()))]
    Resume(ResumeArgs),
    /// Run a peer, which runs tasks, holds intermediate data, relays, and optionally compiles
    #[command(after_help = "Examples:
  webmesh node                                        find peers of the local network by mDNS
  webmesh node --bootstrap /ip4/192.0.2.7/tcp/4001 --threads 2 --roles worker,shuffler
  webmesh node --listen /ip4/0.0.0.0/tcp/4001 --external /ip4/203.0.113.5/tcp/4001
  webmesh node --http 0.0.0.0:8080 --http-name mesh.example --allow-origin https://pages.example")]
    Node(NodeArgs),
    /// List the jobs of a mesh
    #[command(after_help = "Examples:
  webmesh jobs --bootstrap /ip4/192.0.2.7/tcp/4001
  webmesh jobs --bootstrap /ip4/192.0.2.7/tcp/4001 --json | jq -r '.[] | select(.state == \"running\") | .job'")]
    Jobs(AskArgs),
    /// Show a job's progress
    #[command(after_help = "Example:
  webmesh status 3f7a --bootstrap /ip4/192.0.2.7/tcp/4001")]
    Status(JobIdArgs),
    /// Write the result of a job that was submitted with --detach on this machine
    #[command(after_help = concat!("Examples:
  webmesh results 3f7a -o counts.tsv                  a prefix of the job's id is enough
  webmesh results 3f7a --wait | head                  show progress until the job ends

Results are kept for seven days after the job has ended.

", result_lines!()))]
    Results(ResultsArgs),
    /// Cancel one of your jobs
    #[command(after_help = "Example:
  webmesh cancel 3f7a --bootstrap /ip4/192.0.2.7/tcp/4001")]
    Cancel(JobIdArgs),
    /// List the peers of a mesh
    #[command(after_help = "Examples:
  webmesh peers --bootstrap /ip4/192.0.2.7/tcp/4001
  webmesh peers --bootstrap /ip4/192.0.2.7/tcp/4001 --json | jq length")]
    Peers(AskArgs),
}

impl Command {
    /// Whether `--json` was given.
    pub(crate) fn is_json(&self) -> bool {
        match self {
            Self::Run(args) => args.job.json,
            Self::Submit(args) => args.job.json,
            Self::Node(_) => false,
            Self::Jobs(ask) | Self::Peers(ask) => ask.json,
            Self::Status(args) | Self::Cancel(args) => args.ask.json,
            Self::Results(args) => args.json,
            Self::Resume(args) => args.json,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Join the mesh through this peer; may be repeated
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub(crate) bootstrap: Vec<Multiaddr>,
    /// Peers of the embedded mesh
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "bootstrap")]
    pub(crate) peers: NonZeroUsize,
    /// Threads of each embedded peer [default: all cores, shared]
    #[arg(long, value_name = "N", conflicts_with = "bootstrap")]
    pub(crate) threads: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Join the mesh through this peer; may be repeated. To run a job on this machine alone, use `run`
    #[arg(long, value_name = "ADDR", value_parser = parse_address, required = true)]
    pub(crate) bootstrap: Vec<Multiaddr>,
    /// Print the job's id once it is submitted, and leave the job to a background process
    #[arg(long, conflicts_with = "output")]
    pub(crate) detach: bool,
}

/// A job and its options, for `run` and `submit`.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The C++ source
    #[arg(value_name = "JOB.cpp")]
    pub(crate) source: PathBuf,
    /// Files, folders (read recursively), or - for standard input [default: standard input if it is a pipe or a file]
    #[arg(value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Write the result to FILE instead of standard output; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Partitions of the shuffle, each read by at least one reduce task [default: depends on the size of the input]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(limits::PARTITIONS)))]
    pub(crate) partitions: Option<u16>,
    /// Copies of each partition, if there are that many shufflers
    #[arg(long, value_name = "R", default_value = "2", value_parser = clap::value_parser!(u8).range(1..=limits::REPLICAS as i64))]
    pub(crate) replicas: u8,
    /// Split large files at line ends into documents of about SIZE; 1 makes every line a document
    #[arg(long, value_name = "SIZE", default_value = "512KiB", value_parser = chunk)]
    pub(crate) chunk: ByteSize,
    /// Split every input between CSV records, which may have quoted line breaks, as .csv and .tsv files always are
    #[arg(long, conflicts_with = "whole_files")]
    pub(crate) csv: bool,
    /// Never split a file
    #[arg(long)]
    pub(crate) whole_files: bool,
    /// Skip files and folders that cannot be read; otherwise they are an error
    #[arg(long)]
    pub(crate) skip_unreadable: bool,
    /// Documents per task [default: depends on their size]
    #[arg(long, value_name = "N")]
    pub(crate) docs_per_task: Option<NonZeroU32>,
    /// Run a job of N tasks without input: task number I maps the document "I"
    #[arg(long, value_name = "N", conflicts_with = "inputs",
        value_parser = RangedU64ValueParser::<u32>::new().range(1..=u64::from(limits::TASKS)))]
    pub(crate) tasks: Option<u32>,
    /// Time limit of a task, in seconds
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = seconds)]
    pub(crate) task_timeout: Duration,
    /// Memory limit of a task
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = task_memory)]
    pub(crate) task_memory: ByteSize,
    /// How often a failed task is retried, on other peers if there are any
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) retries: u8,
    /// Report progress and outcome as JSON lines on standard error
    #[arg(long)]
    pub(crate) json: bool,
    /// Directory of caches and keys
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Join the mesh through this peer; may be repeated
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub(crate) bootstrap: Vec<Multiaddr>,
    /// Listen address; may be repeated [default: QUIC, TCP and WebRTC-direct on every interface, any port]
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub(crate) listen: Vec<Multiaddr>,
    /// External address of this node, such as a port that its router forwards to it; may be repeated
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub(crate) external: Vec<Multiaddr>,
    /// Be reachable through relays: for a node behind a firewall. Behind a NAT router this is automatic
    #[arg(long)]
    pub(crate) relayed: bool,
    /// HTTP listen address: serves the page for tabs, health and metrics
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Host name by which browsers reach --http, besides localhost, this machine's own name, the names in --external
    /// and IP addresses; may be repeated
    #[arg(long, value_name = "NAME", requires = "http")]
    pub(crate) http_name: Vec<HostName>,
    /// Origin of pages elsewhere that may join through --http, such as https://pages.example; * for any page; may be
    /// repeated
    #[allow(rustdoc::bare_urls, reason = "--help shows it as it stands here")]
    #[arg(long, value_name = "URL", requires = "http")]
    pub(crate) allow_origin: Vec<AllowedOrigin>,
    /// Kiosk mode: the page joins the mesh by itself if its URL ends in #join
    #[arg(long, requires = "http")]
    pub(crate) kiosk: bool,
    /// Directory of keys, caches and known peers
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Roles of this node: worker, shuffler, compiler, relay
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "worker,shuffler,relay")]
    pub(crate) roles: Vec<Role>,
    /// Tasks to run at once [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Memory for tasks (three quarters) and for intermediate data before it goes to disk (one quarter); in addition,
    /// the data that tasks read takes at most as much as the tasks
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub(crate) memory: ByteSize,
    /// Disk space for intermediate data of all jobs; jobs wait for others when it is used up
    #[arg(long, value_name = "SIZE", default_value = "64GiB")]
    pub(crate) disk: ByteSize,
    /// Do not look for peers on the local network
    #[arg(long)]
    pub(crate) no_mdns: bool,
}

/// A role that a node may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Runs tasks
    Worker,
    /// Holds intermediate data
    Shuffler,
    /// Compiles C++ to WebAssembly
    Compiler,
    /// Relays connections of peers that cannot be dialled
    Relay,
}

#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// A peer of the mesh; may be repeated
    #[arg(long, value_name = "ADDR", value_parser = parse_address, required = true)]
    pub(crate) bootstrap: Vec<Multiaddr>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Directory of keys
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct JobIdArgs {
    /// The job's id, or a prefix of it
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResultsArgs {
    /// The job's id, or a prefix of it
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// Write the result to FILE instead of standard output; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Wait for the job to end if it is still running
    #[arg(long)]
    pub(crate) wait: bool,
    /// A peer of the mesh, to ask about a job that is not stored here; may be repeated
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub(crate) bootstrap: Vec<Multiaddr>,
    /// Report progress and outcome as JSON lines on standard error
    #[arg(long)]
    pub(crate) json: bool,
    /// The directory given with --data when the job was submitted
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The job's id, or a prefix of it
    #[arg(value_name = "JOB")]
    pub(crate) job: Option<String>,
    /// Write the result to FILE; - is standard output [default: as when it was submitted]
    #[arg(short, long, value_name = "FILE", requires = "job")]
    pub(crate) output: Option<PathBuf>,
    /// Join the mesh through this peer; may be repeated [default: as when it was submitted]
    #[arg(long, value_name = "ADDR", value_parser = parse_address, requires = "job")]
    pub(crate) bootstrap: Vec<Multiaddr>,
    /// Remove the files of the stopped job instead
    #[arg(long, requires = "job", conflicts_with_all = ["output", "bootstrap"])]
    pub(crate) discard: bool,
    /// Report progress and outcome as JSON lines on standard error
    #[arg(long)]
    pub(crate) json: bool,
    /// The directory given with --data when the job was submitted
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

fn chunk(text: &str) -> Result<ByteSize, String> {
    size(text, inputs::MAX_CHUNK_BYTES)
}

fn task_memory(text: &str) -> Result<ByteSize, String> {
    size(text, limits::TASK_MEMORY_BYTES)
}

fn size(text: &str, most: u64) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|_| "expected a size, such as 512KiB or 2GiB".to_owned())?;
    if (1..=most).contains(&size.as_u64()) { Ok(size) } else { Err(format!("expected 1 byte to {} MiB", most >> 20)) }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds, such as 30 or 0.5".to_owned())?;
    // The unit in a manifest is a millisecond.
    let most = f64::from(limits::TASK_MILLIS) / 1000.0;
    if (0.001..=most).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("expected 0.001 to {most} seconds"))
    }
}
