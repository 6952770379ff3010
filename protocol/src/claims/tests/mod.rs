mod newcomers;

use super::updates::NEWS;
use super::*;
use crate::id::JobId;
use crate::part::StageId;

/// Messages published before, in tests of one message each.
const SAID: u32 = 0;
const SETTLE: Duration = Duration::from_millis(100);
const SHARD: ShardRef = ShardRef { job: JobId([7; 32]), stage: StageId(0), shard: ShardId(0) };
/// The longest time that a claim may stand.
const LONGEST: Duration = Duration::from_secs(60);

fn key(n: u8) -> PeerKey {
    PeerKey(Hash::of(&[n]).0)
}

fn table(me: u8, start: u64) -> ClaimTable {
    let mut table = ClaimTable::new(key(me), SHARD, 0..100, start);
    table.set_settle(SETTLE);
    table
}

/// A claim on the first `count` blocks, by a worker that states that it has finished `finished` others.
fn claim(number: u32, count: u32, finished: u32) -> Claim {
    let hold = Hold { run: Run::new(0, count), term: 0, speculative: false, settled: false };
    let ShardRef { job, stage, shard } = SHARD;
    Claim { job, stage, shard, number, holds: vec![hold], done: vec![], finished }
}

/// A report that the first 8 blocks are done.
fn done(number: u32) -> Claim {
    Claim { holds: vec![], done: vec![Run::new(0, 8)], ..claim(number, 0, 8) }
}

fn holder_of(table: &ClaimTable, block: u32) -> Option<PeerKey> {
    let holds = |claim: &Claim| claim.holds.iter().any(|h| h.run.contains(block));
    table.standings(Time(0), limits::LEASE).into_iter().find(|s| holds(&s.claim)).map(|s| s.worker)
}

fn always(_: u32) -> bool {
    true
}

#[test]
fn two_workers_that_hear_each_other_never_hold_the_same_block() {
    let (mut a, mut b) = (table(1, 0), table(2, 4));
    a.choose(Time(0), 8, always, always);
    b.choose(Time(0), 8, always, always);
    let (from_a, from_b) = (a.next_message(Time(0), SAID), b.next_message(Time(0), SAID));
    a.on_claim(Time(1), key(2), &from_b);
    b.on_claim(Time(1), key(1), &from_a);
    let blocks = |c: Claim| c.holds.iter().flat_map(|h| h.run.iter()).collect::<Vec<_>>();
    let (held_a, held_b) = (blocks(a.next_message(Time(0), SAID)), blocks(b.next_message(Time(0), SAID)));
    assert!(held_a.iter().all(|x| !held_b.contains(x)), "{held_a:?} {held_b:?}");
    assert_eq!(held_a.len() + held_b.len(), 12, "blocks 0 to 11 are held once each");
}

#[test]
fn a_started_block_is_not_given_up() {
    let (mut a, mut b) = (table(1, 0), table(2, 0));
    a.choose(Time(0), 8, always, always).into_iter().for_each(|block| a.start(block));
    b.choose(Time(0), 8, always, always).into_iter().for_each(|block| b.start(block));
    assert!(a.on_claim(Time(1), key(2), &b.next_message(Time(0), SAID)).lost.is_empty());
    assert!(b.on_claim(Time(1), key(1), &a.next_message(Time(0), SAID)).lost.is_empty());
}

#[test]
fn a_settled_claim_wins_against_a_later_one() {
    // Whichever of the two the hash prefers.
    for (old, new) in [(1, 2), (2, 1)] {
        let (mut a, mut b) = (table(old, 0), table(new, 0));
        a.choose(Time(0), 8, always, always);
        let later = Time(1) + SETTLE;
        b.choose(later, 8, always, always);
        let effect = a.on_claim(later, key(new), &b.next_message(later, SAID));
        assert!(effect.lost.is_empty() && effect.contested);
        assert_eq!(b.on_claim(later, key(old), &a.next_message(later, SAID)).lost.len(), 8);
    }
}

#[test]
fn a_claim_over_the_allowance_is_ignored() {
    let mut a = table(1, 0);
    a.on_claim(Time(1), key(2), &claim(1, 100, 1_000_000));
    assert_eq!(a.free(), 100);
}

#[test]
fn a_silent_worker_lapses_and_its_late_claim_loses_to_the_next_holder() {
    let (mut a, mut b) = (table(1, 0), table(2, 0));
    b.choose(Time(0), 8, always, always);
    a.on_claim(Time(1), key(2), &b.next_message(Time(0), SAID));
    assert_eq!(a.free(), 92);
    assert!(!a.lapse(Time(2), limits::LEASE, LONGEST));
    assert!(a.lapse(Time(2) + limits::LEASE, limits::LEASE, LONGEST));
    assert_eq!(a.choose(Time(0), 8, always, always), (0..8).collect::<Vec<_>>());
    let effect = a.on_claim(Time(3) + limits::LEASE, key(2), &b.next_message(Time(0), SAID));
    assert!(effect.lost.is_empty(), "the higher term stands");
    assert_eq!(b.on_claim(Time(3) + limits::LEASE, key(1), &a.next_message(Time(0), SAID)).lost.len(), 8);
}

#[test]
fn a_block_that_the_authority_reports_done_is_not_run() {
    let mut a = table(1, 0);
    a.choose(Time(0), 4, always, always);
    assert_eq!(a.set_done(Time(1), [0, 1, 50].into_iter()), vec![0, 1]);
    assert_eq!(a.held(), 2);
    assert_eq!(a.free(), 95, "two are held, three done");
    a.set_done(Time(2), [50].into_iter());
    assert_eq!(a.free(), 97, "a block that the authority took back is free again");
}

#[test]
fn an_older_report_of_the_authority_does_not_undo_a_recent_one() {
    let mut a = table(1, 0);
    a.choose(Time(0), 1, always, always);
    a.start(0);
    a.finish(Time(10), 0);
    a.set_done(Time(20), std::iter::empty());
    assert_eq!(a.left(), 99, "it was finished just now");
    a.set_done(Time(20) + 2 * NEWS, std::iter::empty());
    assert_eq!(a.left(), 100, "by now the authority would know");
}

#[test]
fn a_newcomer_learns_what_all_others_hold() {
    let (mut a, mut b, mut c) = (table(1, 0), table(2, 50), table(3, 0));
    a.choose(Time(0), 8, always, always);
    b.choose(Time(0), 8, always, always);
    a.on_claim(Time(1), key(2), &b.next_message(Time(0), SAID));
    for Standing { worker, claim, .. } in a.standings(Time(0), limits::LEASE) {
        if worker == key(1) {
            c.on_claim(Time(2), worker, &claim);
        } else {
            c.on_relayed_claim(Time(2), worker, &claim, limits::LEASE);
        }
    }
    assert_eq!(c.free(), 84);
    assert_eq!(c.active_workers(), 3);
}

#[test]
fn newcomers_do_not_keep_a_departed_worker_alive_for_each_other() {
    let (mut a, mut b) = (table(1, 0), table(2, 0));
    b.choose(Time(0), 8, always, always);
    a.on_claim(Time(0), key(2), &b.next_message(Time(0), SAID));
    // Every second, another newcomer hears of it from the one before.
    let mut teller = a;
    for second in 1..=limits::LEASE.as_secs() + 1 {
        let now = Time(0) + Duration::from_secs(second);
        teller.lapse(now, limits::LEASE, LONGEST);
        let mut newcomer = table(second as u8 + 2, 0);
        for Standing { worker, claim, lease } in teller.standings(now, limits::LEASE) {
            newcomer.on_relayed_claim(now, worker, &claim, Duration::from_millis(lease.into()).min(limits::LEASE));
        }
        teller = newcomer;
    }
    assert_eq!((teller.free(), holder_of(&teller, 0)), (100, None));
}

#[test]
fn a_stuck_workers_block_gets_one_second_attempt() {
    let mut a = table(1, 0);
    let mut b = table(2, 0);
    b.choose(Time(0), 1, always, always);
    a.on_claim(Time(1), key(2), &b.next_message(Time(0), SAID));
    let later = Time(1) + Duration::from_secs(3);
    assert_eq!(a.choose_straggler(later, Duration::from_secs(5), always), None);
    assert_eq!(a.choose_straggler(later, Duration::from_secs(2), always), Some(0));
    assert_eq!(a.choose_straggler(later, Duration::from_secs(2), always), None);
}

#[test]
fn a_worker_cannot_end_a_shard_by_reporting_it_done() {
    let mut a = table(1, 0);
    a.on_claim(Time(1), key(2), &Claim { done: vec![Run::new(0, 100)], ..done(1) });
    let newcomers = limits::CLAIM_BASE;
    assert_eq!((a.left(), a.free()), (100 - newcomers, 100 - newcomers), "its claim on a few may have been lost");
    a.set_done(Time(2) + NEWS, std::iter::empty());
    a.on_claim(Time(3) + NEWS, key(2), &Claim { done: vec![Run::new(0, 100)], ..done(2) });
    assert_eq!(a.left(), 100);
}

#[test]
fn a_worker_whose_reports_the_authority_does_not_confirm_is_ignored_for_a_while() {
    let mut a = table(1, 0);
    a.on_claim(Time(1), key(2), &claim(1, 8, 0));
    a.on_claim(Time(2), key(2), &done(2));
    assert_eq!(a.left(), 92, "it held these");
    a.set_done(Time(3), std::iter::empty());
    assert_eq!(a.left(), 92, "its report may still be on its way to the authority");
    a.set_done(Time(3) + 2 * NEWS, std::iter::empty());
    assert_eq!(a.free(), 100);
    a.on_claim(Time(4) + 2 * NEWS, key(2), &claim(3, 8, 0));
    assert_eq!(a.free(), 100, "it holds nothing");
    a.on_claim(Time(4) + 2 * NEWS + Duration::from_secs(60), key(2), &claim(4, 8, 0));
    assert_eq!(a.free(), 92, "its output may only have been slow");
}

#[test]
fn a_worker_is_not_blamed_for_reopened_tasks() {
    let mut a = table(1, 0);
    a.on_claim(Time(1), key(2), &claim(1, 8, 0));
    a.on_claim(Time(2), key(2), &done(2));
    a.forget_news();
    a.set_done(Time(3) + 2 * NEWS, std::iter::empty());
    a.on_claim(Time(4) + 2 * NEWS, key(2), &claim(3, 8, 8));
    assert_eq!(a.free(), 92);
}

#[test]
fn a_claim_ends_after_the_longest_time_however_often_it_is_renewed() {
    let mut a = table(1, 0);
    for second in 0..120 {
        let now = Time(0) + Duration::from_secs(u64::from(second));
        a.on_claim(now, key(2), &claim(second + 1, 8, second * 100));
        a.lapse(now, limits::LEASE, LONGEST);
    }
    assert_eq!(a.free(), 100);
}

#[test]
fn a_higher_term_before_a_lapse_takes_nothing_from_a_holder() {
    let mut a = table(1, 50);
    a.choose(Time(0), 8, always, always);
    a.next_message(Time(0), SAID);
    a.on_claim(Time(1), key(2), &claim(1, 8, 0));
    // Whichever of the two the hash prefers.
    for other in 3..9 {
        let run = Run::new(if other % 2 == 0 { 0 } else { 50 }, 8);
        let hold = Hold { run, term: 255, speculative: false, settled: false };
        a.on_claim(Time(1) + SETTLE, key(other), &Claim { holds: vec![hold], ..claim(1, 0, 0) });
    }
    assert_eq!((holder_of(&a, 0), holder_of(&a, 50)), (Some(key(2)), Some(key(1))));
}

#[test]
fn a_stated_number_of_finished_blocks_is_believed_up_to_a_share_of_those_done() {
    let mut a = ClaimTable::new(key(1), SHARD, 0..1_000, 0);
    a.set_done(Time(0), 900..1_000);
    a.on_claim(Time(1), key(2), &claim(1, 800, 1_000_000));
    assert_eq!(a.free(), 900);
    a.on_claim(Time(2), key(2), &claim(2, 200, 1_000_000));
    assert_eq!(a.free(), 700, "each of two workers may have done fifty");
}

#[test]
fn a_claim_that_another_peer_passed_on_takes_no_held_block_and_mutes_no_worker() {
    let mut a = table(1, 0);
    a.choose(Time(0), 4, always, always);
    let invented = Claim { done: vec![Run::new(50, 50)], ..claim(u32::MAX, 8, 8) };
    a.on_relayed_claim(Time(1), key(2), &invented, limits::LEASE);
    assert_eq!((a.held(), a.free(), a.left()), (4, 92, 100), "four blocks were free");
    a.on_claim(Time(2), key(2), &Claim { holds: vec![], ..claim(1, 0, 0) });
    assert_eq!(a.free(), 96, "it says itself that it holds nothing");
}

#[test]
fn workers_known_from_others_only_do_not_replace_those_that_were_heard() {
    let mut a = table(1, 0);
    a.on_claim(Time(1), key(2), &claim(1, 8, 0));
    for n in 0..1_000u32 {
        a.on_relayed_claim(Time(2), PeerKey(Hash::of(&n.to_le_bytes()).0), &claim(1, 0, 0), limits::LEASE);
    }
    assert_eq!(holder_of(&a, 0), Some(key(2)));
}
