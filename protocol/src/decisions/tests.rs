//! Properties of the fold over any log, tested on random logs.

use proptest::prelude::*;

use super::*;
use crate::epoch::{Epoch, Generations, Shuffler};
use crate::id::{Hash, JobId, PeerKey};
use crate::manifest::{Authority, BlobRef, Inputs, Manifest, Operator, Sink, Source, Stage, TaskLimits, Verify};
use crate::message::{Attempts, AuthoredAttempt, Outcome};
use crate::part::{Generation, PartitionId, ShuffleShape, StageId, TaskId};
use crate::ranges::{Run, runs_of};
use crate::sign::{Keypair, Signed};
use crate::version;

const MAPS: u32 = 9;
const BUCKETS: u32 = 4;

fn owner() -> Keypair {
    Keypair::from_secret([7; 32])
}

fn worker(number: u8) -> PeerKey {
    PeerKey([number; 32])
}

/// A map, a reduce that feeds a shuffle, and a reduce that gives the result.
fn manifest(authority: Authority) -> Manifest {
    let limits = TaskLimits { millis: 1_000, memory: 1 << 20, output: 1 << 16, retries: 1 };
    let shuffle = Sink::Shuffle(ShuffleShape { partitions: 2, buckets: BUCKETS });
    let map = Stage {
        operator: Operator::Map,
        source: Source::Inputs,
        further: Vec::new(),
        sink: shuffle,
        tasks: MAPS,
        task_bytes: 1,
        shards: 1,
        block: 1,
        limits,
    };
    let reduce = |stage, sink| Stage {
        operator: Operator::Reduce,
        source: Source::Shuffle { stage },
        sink,
        tasks: BUCKETS,
        ..map.clone()
    };
    Manifest {
        owner: owner().public(),
        home: worker(0),
        nonce: 1,
        name: "folded".to_owned(),
        minor: 0,
        module: BlobRef { hash: Hash::of(b"module"), len: 6 },
        inputs: Inputs::Numbers,
        stages: vec![map.clone(), reduce(StageId(0), shuffle), reduce(StageId(1), Sink::Collect)],
        authority,
        verify: Verify::Off,
        replicas: 1,
    }
}

/// Two maps, and a reduce of what both write that gives the result.
fn joined() -> Manifest {
    let chain = manifest(Authority::Owner);
    let (map, last) = (&chain.stages[0], &chain.stages[2]);
    let [source, further] = [0, 1].map(|stage| Source::Shuffle { stage: StageId(stage) });
    let last = Stage { source, further: vec![further], ..last.clone() };
    Manifest { minor: version::SEVERAL_SOURCES, stages: vec![map.clone(), map.clone(), last], ..chain }
}

/// A log that grows, with the state after each of its batches.
#[derive(Debug)]
struct Grown {
    states: Vec<State>,
    batches: Vec<Certified>,
}

impl Grown {
    fn new() -> Self {
        Self::of(&manifest(Authority::Owner))
    }

    fn of(manifest: &Manifest) -> Self {
        let signed = owner().sign(manifest);
        let job = Manifest::id_of(&signed);
        let decisions = vec![Decision::Open(signed), Decision::Epoch(epoch(job, 0, None, vec![]))];
        let batch = Batch { job, number: 0, previous: Hash([0; 32]), decisions };
        let first = Certified::by_owner(&batch, &owner());
        Self { states: vec![State::open(&first).unwrap()], batches: vec![first] }
    }

    fn state(&self) -> &State {
        self.states.last().unwrap()
    }

    fn certify(&self, decisions: Vec<Decision>) -> Certified {
        let state = self.state();
        let batch = Batch { job: state.job(), number: state.next(), previous: state.tip(), decisions };
        Certified::by_owner(&batch, &owner())
    }

    fn add(&mut self, decisions: Vec<Decision>) {
        let certified = self.certify(decisions);
        let mut state = self.state().clone();
        state.apply(&certified).unwrap();
        self.states.push(state);
        self.batches.push(certified);
    }

    /// Adds one batch of decisions that are valid now, chosen by the numbers.
    fn step(&mut self, (what, a, b): (u8, u32, u8)) {
        let state = self.state();
        if state.outcome().is_some() {
            return;
        }
        let number = StageId((a % 3) as u8);
        let stage = state.stage(number).unwrap();
        let tasks = stage.accepted().size();
        let open = stage.accepted().iter_missing().filter(|t| (t.0 ^ a) % 3 != 0);
        let attempts: Vec<AuthoredAttempt> =
            open.map(|t| attempt(t, &[b, t.0 as u8], 1 + (t.0 as u8 ^ b) % 4)).collect();
        let attempts = Attempts::pack_authored(&attempts);
        let read = number.0.checked_sub(1).and_then(|read| state.stage(StageId(read)));
        let decision = match what % 8 {
            0..4 if read.is_some_and(|read| read.split().is_none()) => {
                if !read.is_some_and(|read| read.accepted().is_full()) {
                    return;
                }
                Decision::Split { stage: StageId(number.0 - 1), width: 1 + u32::from(b % 2) }
            }
            0..4 if attempts.is_empty() => return,
            0..4 if number == StageId(2) => Decision::Output { stage: number, attempts },
            0..4 => Decision::Accept { stage: number, attempts },
            4 => {
                let of = match b % 2 {
                    0 => Revoked::Author(worker(1 + b % 4)),
                    _ => Revoked::Tasks(runs_of(TaskId::below(tasks).filter(|t| (t.0 ^ a) % 2 == 0))),
                };
                Decision::Revoke { stage: number, generation: Generation(state.generation().0 + 1 + a % 2), of }
            }
            5 if number < StageId(2) && stage.accepted().is_full() => Decision::Seal {
                stage: number,
                generation: stage.generation(),
                root: stage.root(),
                partitions: vec![PartitionId((a % 2) as u16)],
            },
            6 => {
                let (epoch_before, signed) = (state.epoch().unwrap(), state.signed_epoch().unwrap());
                let generations = state.generations();
                let number = epoch_before.number + 1 + a % 2;
                Decision::Epoch(epoch(state.job(), number, Some(signed.hash()), generations))
            }
            7 if b == 0 => Decision::End(Outcome::Done),
            _ => return,
        };
        self.add(vec![decision]);
    }

    fn bytes(&self) -> Vec<u8> {
        self.batches.iter().flat_map(frame).collect()
    }
}

fn epoch(job: JobId, number: u32, previous: Option<Hash>, generations: Vec<Generations>) -> Signed<Epoch> {
    let shufflers = vec![Shuffler { peer: worker(9), weight: 1 }];
    owner().sign(&Epoch { job, number, previous, shufflers, generations })
}

fn grown() -> impl Strategy<Value = Grown> {
    prop::collection::vec((any::<u8>(), any::<u32>(), any::<u8>()), 0..40).prop_map(|steps| {
        let mut grown = Grown::new();
        steps.into_iter().for_each(|step| grown.step(step));
        grown
    })
}

proptest! {
    #[test]
    fn the_rest_of_a_log_follows_from_the_state_of_any_prefix(grown in grown(), at: prop::sample::Index) {
        let bytes = grown.bytes();
        let whole = replay(&bytes);
        prop_assert!(whole.cut.is_none());
        prop_assert_eq!(whole.state.as_ref(), Some(grown.state()));
        let cut = at.index(grown.batches.len());
        let prefix: Vec<u8> = grown.batches[..=cut].iter().flat_map(frame).collect();
        let mut state = replay(&prefix).state.unwrap();
        prop_assert_eq!(&state, &grown.states[cut]);
        for batch in &grown.batches[cut + 1..] {
            state.apply(batch).unwrap();
        }
        prop_assert_eq!(&state, grown.state());
    }

    #[test]
    fn two_replays_of_a_log_give_the_same_state(grown in grown()) {
        let bytes = grown.bytes();
        prop_assert_eq!(replay(&bytes).state, replay(&bytes).state);
    }

    #[test]
    fn a_log_with_one_bit_flipped_is_cut_at_the_batch_that_holds_it(
        grown in grown(), at: prop::sample::Index, bit in 0u8..8,
    ) {
        let mut bytes = grown.bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let mut ends = grown.batches.iter().scan(0, |end, batch| { *end += frame(batch).len(); Some(*end) });
        let damaged = ends.position(|end| at < end).unwrap();
        let replayed = replay(&bytes);
        let cut = replayed.cut.expect("the flipped bit is found");
        prop_assert_eq!(cut.batches, damaged as u64);
        prop_assert_eq!(cut.lost, bytes.len() - replayed.kept);
        prop_assert_eq!(replayed.state.as_ref(), damaged.checked_sub(1).map(|last| &grown.states[last]));
    }

    #[test]
    fn a_torn_log_loses_only_its_last_batch(grown in grown(), torn in 1usize..60) {
        let bytes = grown.bytes();
        let last = frame(grown.batches.last().unwrap()).len();
        let replayed = replay(&bytes[..bytes.len() - torn.min(last - 1)]);
        prop_assert_eq!(replayed.kept, bytes.len() - last);
        prop_assert!(replayed.cut.unwrap().why.contains("not written whole"));
    }

    #[test]
    fn replaying_arbitrary_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(replay(&bytes).state.is_none());
    }
}

fn attempt(task: TaskId, content: &[u8], author: u8) -> AuthoredAttempt {
    AuthoredAttempt { task, digest: Hash::of(content), author: worker(author) }
}

/// Accepts all tasks of a stage, each by worker number `task % 3 + 1`.
fn accept_all(grown: &mut Grown, stage: StageId) {
    let tasks = grown.state().stage(stage).unwrap().accepted().iter_missing();
    let attempts: Vec<_> = tasks.map(|t| attempt(t, &[stage.0, t.0 as u8], 1 + t.0 as u8 % 3)).collect();
    let attempts = Attempts::pack_authored(&attempts);
    let decision =
        if stage == StageId(2) { Decision::Output { stage, attempts } } else { Decision::Accept { stage, attempts } };
    grown.add(vec![decision]);
}

#[test]
fn revoking_an_author_reopens_its_tasks_and_all_that_was_computed_from_them() {
    let mut grown = Grown::new();
    StageId::below(2).for_each(|stage| accept_all(&mut grown, stage));
    grown.add(vec![Decision::Split { stage: StageId(1), width: 1 }]);
    accept_all(&mut grown, StageId(2));
    assert_eq!(grown.state().author(StageId(0), TaskId(4)), Some(worker(2)));
    grown.add(vec![Decision::Revoke { stage: StageId(1), generation: Generation(1), of: Revoked::Author(worker(2)) }]);
    let state = grown.state();
    let open = |stage: u8| {
        state.stage(StageId(stage)).unwrap().accepted().iter_missing().map(|task| task.0).collect::<Vec<_>>()
    };
    assert_eq!(open(0), [], "the stage before read nothing of it");
    assert_eq!(open(1), [1], "only its own tasks");
    assert_eq!(open(2), [0, 1, 2, 3], "all results were computed from them");
    let generations = |stage| {
        let stage = state.stage(StageId(stage)).unwrap();
        (stage.reads().0, stage.generation().0)
    };
    assert_eq!([0, 1, 2].map(generations), [(0, 0), (0, 1), (1, 1)]);
    assert_eq!(state.author(StageId(1), TaskId(1)), None);
}

fn split(stage: u8, width: u32) -> Decision {
    Decision::Split { stage: StageId(stage), width }
}

fn refused(grown: &Grown, decision: Decision) {
    let certified = grown.certify(vec![decision.clone()]);
    assert!(grown.state().clone().apply(&certified).is_err(), "{decision:?}");
}

#[test]
fn sources_read_together_are_divided_alike_once_all_are_written() {
    let mut grown = Grown::of(&joined());
    let result = Attempts::pack_authored(&[attempt(TaskId(0), b"result", 1)]);
    let output = Decision::Output { stage: StageId(2), attempts: result };
    accept_all(&mut grown, StageId(0));
    refused(&grown, split(0, 2));
    accept_all(&mut grown, StageId(1));
    grown.add(vec![split(0, 2)]);
    refused(&grown, output.clone());
    refused(&grown, split(1, 1));
    grown.add(vec![split(1, 2)]);
    assert_eq!(grown.state().stage(StageId(2)).unwrap().accepted().size(), 2);
    grown.add(vec![output]);
}

#[test]
fn revoking_one_of_several_sources_revokes_its_reader_and_not_the_other_sources() {
    for revoked in 0..2 {
        let mut grown = Grown::of(&joined());
        StageId::below(2).for_each(|stage| accept_all(&mut grown, stage));
        grown.add(vec![split(0, 1), split(1, 1)]);
        accept_all(&mut grown, StageId(2));
        let of = Revoked::Tasks(vec![Run::new(TaskId(3), 1)]);
        grown.add(vec![Decision::Revoke { stage: StageId(revoked), generation: Generation(1), of }]);
        let state = grown.state();
        let open = |stage: u8| state.stage(StageId(stage)).unwrap().accepted().iter_missing().count();
        assert_eq!((open(revoked), open(1 - revoked), open(2)), (1, 0, BUCKETS as usize));
        let generations = |stage| {
            let stage = state.stage(StageId(stage)).unwrap();
            (stage.reads().0, stage.generation().0)
        };
        assert_eq!([revoked, 1 - revoked, 2].map(generations), [(0, 1), (0, 0), (1, 1)]);
    }
}

#[test]
fn the_division_into_tasks_is_decided_once_all_is_written_and_survives_revocations() {
    let mut grown = Grown::new();
    let result = Attempts::pack_authored(&[attempt(TaskId(0), b"result", 1)]);
    let output = Decision::Output { stage: StageId(2), attempts: result };
    accept_all(&mut grown, StageId(0));
    refused(&grown, split(0, 1));
    refused(&grown, split(1, 1));
    accept_all(&mut grown, StageId(1));
    refused(&grown, output.clone());
    // Each of two partitions has two buckets.
    [0, 3].into_iter().for_each(|width| refused(&grown, split(1, width)));
    grown.add(vec![split(1, 2)]);
    let tasks = |grown: &Grown| grown.state().stage(StageId(2)).unwrap().accepted().size();
    assert_eq!(tasks(&grown), 2);
    refused(&grown, split(1, 2));
    grown.add(vec![output]);
    grown.add(vec![Decision::Revoke { stage: StageId(0), generation: Generation(1), of: Revoked::Author(worker(2)) }]);
    assert_eq!((tasks(&grown), grown.state().stage(StageId(2)).unwrap().accepted().count()), (2, 0));
    StageId::below(2).for_each(|stage| accept_all(&mut grown, stage));
    refused(&grown, split(1, 1));
    accept_all(&mut grown, StageId(2));
    assert_eq!(tasks(&grown), 2);
}

#[test]
fn a_batch_that_does_not_follow_is_refused() {
    let mut grown = Grown::new();
    accept_all(&mut grown, StageId(0));
    let root = grown.state().stage(StageId(0)).unwrap().root();
    let again = Attempts::pack_authored(&[attempt(TaskId(0), b"other", 1)]);
    let beyond = Attempts::pack_authored(&[attempt(TaskId(MAPS), b"other", 1)]);
    let seal = |generation, root| Decision::Seal {
        stage: StageId(0),
        generation: Generation(generation),
        root,
        partitions: vec![PartitionId(0)],
    };
    let job = grown.state().job();
    let refused = [
        Decision::Accept { stage: StageId(0), attempts: again.clone() },
        Decision::Accept { stage: StageId(1), attempts: beyond },
        Decision::Output { stage: StageId(1), attempts: again.clone() },
        Decision::Accept { stage: StageId(3), attempts: again },
        Decision::Revoke { stage: StageId(0), generation: Generation(0), of: Revoked::Author(worker(1)) },
        seal(1, root),
        seal(0, Hash::of(b"another root")),
        Decision::Epoch(epoch(job, 1, Some(Hash::of(b"another epoch")), vec![])),
        Decision::Epoch(epoch(
            job,
            1,
            grown.state().signed_epoch().map(Signed::hash),
            vec![Generations { reads: Generation(0), writes: Generation(1) }],
        )),
        Decision::Open(owner().sign(&manifest(Authority::Owner))),
    ];
    for decision in refused {
        let certified = grown.certify(vec![decision.clone()]);
        assert!(grown.state().clone().apply(&certified).is_err(), "{decision:?}");
    }
    grown.add(vec![Decision::Ban(worker(1)), Decision::End(Outcome::Cancelled)]);
    let after = grown.certify(vec![Decision::Ban(worker(2))]);
    assert!(grown.state().clone().apply(&after).is_err(), "nothing follows the end");
}

#[test]
fn revoking_a_run_beyond_all_tasks_takes_no_time() {
    let mut grown = Grown::new();
    accept_all(&mut grown, StageId(0));
    let of = Revoked::Tasks(vec![Run::new(TaskId(7), u32::MAX - 7)]);
    grown.add(vec![Decision::Revoke { stage: StageId(0), generation: Generation(1), of }]);
    assert_eq!(grown.state().stage(StageId(0)).unwrap().accepted().count(), 7);
}

#[test]
fn a_certificate_of_stewards_needs_more_than_two_thirds_of_them() {
    let keys: Vec<Keypair> = (10..14).map(|n| Keypair::from_secret([n; 32])).collect();
    let stewards: Vec<PeerKey> = keys.iter().map(Keypair::public).collect();
    let manifest = manifest(Authority::Stewards(stewards));
    let batch = Hash::of(b"batch");
    let signed = |places: &[u8]| {
        let signature = |&place: &u8| (place, Certificate::signature(&keys[usize::from(place)], &batch));
        Certificate::Stewards(places.iter().map(signature).collect())
    };
    let check = |certificate: Certificate| certificate.check(&batch, Certifiers::of(&manifest));
    assert_eq!(check(signed(&[0, 1, 3])), Ok(()));
    assert_eq!(check(signed(&[0, 3])), Err(CertificateError::TooFew { signed: 2, stewards: 4 }));
    assert_eq!(check(signed(&[0, 0, 1])), Err(CertificateError::Signer));
    assert_eq!(check(Certificate::by_owner(&owner(), &batch)), Err(CertificateError::WrongKind));
    assert_eq!(
        signed(&[0, 1, 2]).check(&Hash::of(b"other"), Certifiers::of(&manifest)),
        Err(CertificateError::Signature)
    );
    let beyond = Certificate::Stewards(vec![(4, Certificate::signature(&keys[0], &batch))]);
    assert_eq!(check(beyond), Err(CertificateError::Signer));
}

#[test]
fn a_batch_certified_by_another_key_is_refused() {
    let grown = Grown::new();
    let (state, decisions) = (grown.state(), vec![Decision::Ban(worker(1))]);
    let batch = Batch { job: state.job(), number: state.next(), previous: state.tip(), decisions };
    let forged = Certified::by_owner(&batch, &Keypair::from_secret([8; 32]));
    assert!(grown.state().clone().apply(&forged).is_err());
}
