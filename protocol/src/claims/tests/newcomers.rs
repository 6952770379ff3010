//! Workers of which no result was accepted yet.

use super::*;

const PATIENCE: Duration = Duration::from_millis(500);

fn nobody(_: &PeerKey) -> bool {
    false
}

/// A table of worker 1 in which worker 2 claimed the first 8 blocks, and the time at which worker 2 may be late.
fn claimed() -> (ClaimTable, Time) {
    let mut a = table(1, 0);
    a.on_claim(Time(1), key(2), &claim(1, 8, 0));
    (a, Time(1) + PATIENCE)
}

/// A claim of the first 8 blocks that was sent long ago.
fn renewal(number: u32) -> Claim {
    let mut claim = claim(number, 8, 0);
    claim.holds[0].settled = true;
    claim
}

#[test]
fn a_newcomer_is_late_only_after_its_patience_and_only_by_the_authoritys_word() {
    let (mut a, late) = claimed();
    assert_eq!(a.doubtful_at(PATIENCE), Some(late));
    a.judge(Time(2), PATIENCE, nobody);
    assert_eq!((a.has_late(), a.in_vain()), (false, 0), "it was asked too early");
    a.judge(late, PATIENCE, |peer| *peer == key(2));
    assert_eq!((a.has_late(), a.doubtful_at(PATIENCE)), (false, None), "it has finished something");
}

#[test]
fn blocks_of_a_late_worker_can_be_claimed_and_its_renewals_do_not_take_them_back() {
    let (mut a, late) = claimed();
    assert!(a.choose_in_vain(late, 8, Duration::ZERO, always).is_empty());
    a.judge(late, PATIENCE, nobody);
    assert_eq!((a.in_vain(), a.active_workers()), (8, 1));
    let mut chosen = a.choose(late, 100, always, always);
    chosen.sort_unstable();
    assert_eq!(chosen, (8..100).collect::<Vec<_>>(), "free blocks come first");
    assert_eq!(a.choose_in_vain(late, 8, Duration::ZERO, always).len(), 8);
    let effect = a.on_claim(late, key(2), &renewal(2));
    assert_eq!((a.held(), effect.lost.len(), effect.contested), (100, 0, false));
}

#[test]
fn a_late_worker_gets_no_further_block() {
    let (mut a, late) = claimed();
    a.judge(late, PATIENCE, nobody);
    let run = Run::new(20, 8);
    let further = Hold { run, term: 0, speculative: false, settled: true };
    a.on_claim(late, key(2), &Claim { holds: vec![further], ..claim(2, 8, 0) });
    assert_eq!((holder_of(&a, 20), a.free()), (None, 100));
}

#[test]
fn what_a_late_worker_reports_done_is_not() {
    let (mut a, late) = claimed();
    a.on_claim(Time(2), key(2), &done(2));
    assert_eq!(a.left(), 92);
    let asked = late + PATIENCE;
    a.set_done(asked, std::iter::once(3));
    a.judge(asked, PATIENCE, nobody);
    assert_eq!((a.left(), a.free()), (99, 99), "the authority knows of one block");
    a.on_claim(asked, key(2), &Claim { done: vec![Run::new(0, 100)], ..done(3) });
    assert_eq!(a.left(), 99);
}

#[test]
fn a_block_that_one_newcomer_held_in_vain_is_not_kept_for_another() {
    let (mut a, late) = claimed();
    a.judge(late, PATIENCE, nobody);
    a.on_goodbye(&key(2));
    a.on_claim(late, key(3), &claim(1, 8, 0));
    assert_eq!(a.free(), 100);
    a.judge(late, PATIENCE, |peer| *peer == key(3));
    a.on_claim(late, key(3), &claim(2, 8, 0));
    assert_eq!(holder_of(&a, 0), Some(key(3)), "it has finished something by now");
}

#[test]
fn workers_that_have_finished_something_settle_who_takes_a_late_workers_blocks() {
    let (mut a, late) = claimed();
    let mut b = table(3, 50);
    b.on_claim(Time(1), key(2), &claim(1, 8, 0));
    a.judge(late, PATIENCE, |peer| *peer == key(3));
    b.judge(late, PATIENCE, |peer| *peer == key(1));
    a.on_claim(late, key(3), &Claim { holds: vec![], ..claim(1, 0, 0) });
    b.on_claim(late, key(1), &Claim { holds: vec![], ..claim(1, 0, 0) });
    // Each hears of the other only now.
    a.judge(late, PATIENCE, |peer| *peer == key(3));
    b.judge(late, PATIENCE, |peer| *peer == key(1));
    a.choose_in_vain(late, 8, Duration::ZERO, always);
    b.choose_in_vain(late, 8, Duration::ZERO, always);
    let (from_a, from_b) = (a.next_message(late, 1), b.next_message(late, 1));
    a.on_claim(late, key(3), &from_b);
    b.on_claim(late, key(1), &from_a);
    assert_eq!(a.held() + b.held(), 8, "each block is held once");
}

#[test]
fn a_block_that_two_newcomers_claim_is_taken_last() {
    let (mut a, late) = claimed();
    a.judge(late, PATIENCE, nobody);
    // Another honest newcomer, perhaps, that runs the first four.
    a.on_claim(late, key(3), &claim(1, 4, 0));
    let mut chosen = a.choose_in_vain(late, 4, Duration::ZERO, always);
    chosen.sort_unstable();
    assert_eq!(chosen, [4, 5, 6, 7]);
    assert!(a.choose_in_vain(late, 4, PATIENCE, always).is_empty());
    assert_eq!(a.choose_in_vain(late + PATIENCE, 4, PATIENCE, always).len(), 4);
}

#[test]
fn workers_that_were_late_in_another_stage_are_late_from_their_first_claim() {
    let mut a = table(1, 0);
    a.suspect(&BTreeSet::from([key(2)]));
    a.on_claim(Time(1), key(2), &claim(1, 8, 0));
    assert_eq!((a.free(), a.active_workers()), (100, 1));
    a.judge(Time(2), PATIENCE, |peer| *peer == key(2));
    a.on_claim(Time(2), key(2), &claim(2, 8, 0));
    assert_eq!((a.free(), a.active_workers()), (92, 2));
}

#[test]
fn newcomers_do_not_push_workers_that_have_finished_something_out_of_a_full_table() {
    let (mut a, _) = claimed();
    a.judge(Time(2), PATIENCE, |peer| *peer == key(2));
    for n in 0..1_000u32 {
        a.on_claim(Time(3), PeerKey(Hash::of(&n.to_le_bytes()).0), &claim(1, 0, 0));
    }
    assert_eq!(holder_of(&a, 0), Some(key(2)));
}
