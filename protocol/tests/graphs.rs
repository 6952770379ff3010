//! Random graphs of stages: manifests that no mesh could run are refused, and every other job ends.
#![cfg(feature = "sim")]

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use webmesh_protocol::codec::{Wire, decode, encode};
use webmesh_protocol::manifest::{
    Authority, BlobRef, Inputs, Manifest, Operator, Sink, Source, Stage, TaskLimits, Verify,
};
use webmesh_protocol::sim::{Fault, Job, Node, Scenario, run};
use webmesh_protocol::{Hash, PeerKey, ShuffleShape, StageId, version};

/// Map tasks of each job.
const MAPS: u32 = 12;

fn shape(partitions: u16, buckets: u32) -> Option<ShuffleShape> {
    Some(ShuffleShape { partitions, buckets })
}

/// The manifest of a graph's job, as a submitter would create it.
fn manifest(graph: &[Node]) -> Manifest {
    let limits = TaskLimits { millis: 1_000, memory: 1 << 20, output: 1 << 20, retries: 1 };
    let stage = |node: &Node| {
        let mut sources = node.reads.iter().map(|&stage| Source::Shuffle { stage });
        let source = sources.next();
        let first = node.reads.first().and_then(|&first| graph.get(first.index())?.shuffle);
        Stage {
            operator: if source.is_some() { Operator::Reduce } else { Operator::Map },
            source: source.unwrap_or(Source::Inputs),
            further: sources.collect(),
            sink: node.shuffle.map_or(Sink::Collect, Sink::Shuffle),
            tasks: if source.is_some() { first.map_or(1, |shape| shape.buckets) } else { MAPS },
            task_bytes: 200,
            shards: 1,
            block: 1,
            limits,
        }
    };
    Manifest {
        owner: PeerKey([1; 32]),
        home: PeerKey([2; 32]),
        nonce: 1,
        name: "graph".to_owned(),
        minor: version::MINOR,
        module: BlobRef { hash: Hash([3; 32]), len: 1 },
        inputs: Inputs::Numbers,
        stages: graph.iter().map(stage).collect(),
        authority: Authority::Owner,
        verify: Verify::Off,
        replicas: 1,
    }
}

/// Whether a mesh can run the graph, by its definition: data flows from maps to a single result, and shuffles that are
/// read together have the same partitions and buckets.
fn can_be_done(graph: &[Node]) -> bool {
    let is_read = |stage: usize| graph.iter().any(|node| node.reads.iter().any(|read| read.index() == stage));
    graph.iter().enumerate().all(|(stage, node)| {
        let is_last = stage + 1 == graph.len();
        let shapes: Vec<_> =
            node.reads.iter().map(|read| graph.get(read.index()).and_then(|read| read.shuffle)).collect();
        let comes_later = node.reads.iter().any(|read| read.index() >= stage);
        let twice = node.reads.iter().enumerate().any(|(port, read)| node.reads[..port].contains(read));
        let alike = shapes.iter().all(|shape| shape.is_some() && *shape == shapes[0]);
        alike && !comes_later && !twice && is_last == node.shuffle.is_none() && (is_last || is_read(stage))
    })
}

prop_compose! {
    /// A graph that can be run.
    fn sound()(
        reads in prop::collection::vec(prop::collection::vec(any::<Index>(), 0..4), 1..=6), partitions in 1u16..=4,
        each in 1u32..=3,
    ) -> Vec<Node> {
        let last = reads.len() - 1;
        let shuffle = shape(partitions, u32::from(partitions) * each);
        let mut nodes: Vec<Node> = Vec::new();
        for (stage, of) in reads.into_iter().enumerate() {
            let earlier = of.into_iter().filter(|_| stage > 0).map(|of| StageId::of_index(of.index(stage)));
            let mut reads: Vec<StageId> = earlier.collect();
            if stage == last {
                let unread = |of: &StageId| !nodes.iter().any(|node| node.reads.contains(of));
                reads.extend(StageId::below(stage as u8).filter(unread));
            }
            let mut known = std::collections::BTreeSet::new();
            reads.retain(|&of| known.insert(of));
            nodes.push(Node { reads, shuffle: shuffle.filter(|_| stage < last) });
        }
        nodes
    }
}

/// A flaw of a graph.
#[derive(Clone, Copy, Debug)]
enum Flaw {
    /// A stage reads a later stage, or itself.
    Forward,
    /// A stage reads a shuffle twice.
    Twice,
    /// A stage reads a shuffle with other partitions, or other buckets.
    OtherShape(bool),
    /// A stage before the last gives a result.
    EarlyResult,
    /// The last stage shuffles.
    NoResult,
    /// No stage reads the output of a stage.
    Unread,
    /// A stage reads a stage that does not exist.
    Nowhere,
}

fn flaw() -> impl Strategy<Value = Flaw> {
    prop::sample::select(vec![
        Flaw::Forward,
        Flaw::Twice,
        Flaw::OtherShape(true),
        Flaw::OtherShape(false),
        Flaw::EarlyResult,
        Flaw::NoResult,
        Flaw::Unread,
        Flaw::Nowhere,
    ])
}

/// A graph with a flaw at one of its stages, if the flaw is possible there.
fn flawed(mut graph: Vec<Node>, flaw: Flaw, at: Index, to: Index) -> Vec<Node> {
    let (stage, last) = (at.index(graph.len()), graph.len() - 1);
    match flaw {
        Flaw::Forward => {
            let later = stage + to.index(graph.len() - stage);
            graph[stage].reads.push(StageId::of_index(later));
        }
        Flaw::Twice => {
            let again = graph[stage].reads.first().copied();
            graph[stage].reads.extend(again);
        }
        Flaw::OtherShape(partitions) => {
            graph[stage].shuffle = graph[stage].shuffle.and_then(|ShuffleShape { partitions: p, buckets }| {
                if partitions { shape(2 * p, 2 * buckets) } else { shape(p, buckets + u32::from(p)) }
            });
        }
        Flaw::EarlyResult => graph[stage].shuffle = None,
        Flaw::NoResult => graph[last].shuffle = shape(1, 1),
        Flaw::Unread => graph.insert(last, Node::reading([], shape(1, 1))),
        Flaw::Nowhere => graph[stage].reads.push(StageId::of_index(last + 1)),
    }
    graph
}

/// Longest virtual time of a simulated job.
const PATIENCE: Duration = Duration::from_secs(600);

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn every_graph_that_can_run_is_accepted_and_ends(
        graph in sound(), seed: u64, pack: bool, unrepeatable: bool, at in prop::option::of(5_500u64..9_000),
    ) {
        prop_assert!(can_be_done(&graph));
        let described = manifest(&graph);
        prop_assert_eq!(described.check(), Ok(()));
        prop_assert_eq!(decode::<Manifest>(&encode(&described)), Ok(described));
        let job = Job {
            graph,
            unrepeatable,
            reduce_bytes: 200,
            pack: pack.then_some(5),
            ..Job::new(MAPS, Duration::from_millis(50), 4)
        };
        let mut scenario = Scenario { shufflers: 2, deadline: PATIENCE, ..Scenario::new(seed, 4) }.with(job);
        scenario.faults.extend(at.map(|at| (Duration::from_millis(at), Fault::KillShuffler(0))));
        let report = run(&scenario);
        prop_assert!(report.violations.is_empty() && report.jobs[0].is_done(), "{}", report);
    }
}

proptest! {
    #[test]
    fn a_graph_with_a_flaw_is_refused(graph in sound(), flaw in flaw(), at: Index, to: Index) {
        let graph = flawed(graph, flaw, at, to);
        prop_assert_eq!(manifest(&graph).check().is_ok(), can_be_done(&graph), "{:?}", graph);
    }

    #[test]
    fn only_graphs_that_can_run_are_accepted(
        nodes in prop::collection::vec((prop::collection::vec(0u8..7, 0..4), prop::option::of((1u16..3, 1u32..3))), 1..5),
    ) {
        let node = |(reads, shuffle): (Vec<u8>, Option<(u16, u32)>)| {
            let shuffle = shuffle.and_then(|(partitions, each)| shape(partitions, u32::from(partitions) * each));
            Node::reading(reads, shuffle)
        };
        let graph: Vec<Node> = nodes.into_iter().map(node).collect();
        prop_assert_eq!(manifest(&graph).check().is_ok(), can_be_done(&graph), "{:?}", graph);
    }
}

#[test]
fn a_cycle_is_refused() {
    let shuffle = shape(2, 4);
    let reads = [vec![], vec![0, 2], vec![1], vec![2]];
    let graph: Vec<Node> = (0..).zip(reads).map(|(n, reads)| Node::reading(reads, shuffle.filter(|_| n < 3))).collect();
    assert_eq!(
        manifest(&graph).check(),
        Err("a stage whose tasks are not the buckets of an earlier stage that it reads")
    );
}

#[test]
fn a_stage_with_several_sources_requires_peers_that_support_them() {
    let shuffle = shape(2, 4);
    let reads = [vec![], vec![], vec![0, 1]];
    let graph: Vec<Node> = (0..).zip(reads).map(|(n, reads)| Node::reading(reads, shuffle.filter(|_| n < 2))).collect();
    let joined = manifest(&graph);
    assert_eq!(joined.least_minor(), version::SEVERAL_SOURCES);
    let unaware = Manifest { minor: version::SEVERAL_SOURCES - 1, ..joined.clone() };
    assert!(unaware.check().is_err());
    let one_source = manifest(&[Node::reading([], None)]);
    assert_eq!(one_source.least_minor(), 0);
    // Guests of interface version 1 have a single source.
    assert!(joined.unsupported(1).is_some_and(|why| why.contains("several shuffles")));
    assert_eq!(joined.unsupported(2), None);
}

#[test]
fn a_manifest_without_further_sources_keeps_its_old_encoding() {
    let bytes = encode(&manifest(&[Node::reading([], None)]));
    assert!(!bytes.windows(7).any(|part| part == b"further"));
}
