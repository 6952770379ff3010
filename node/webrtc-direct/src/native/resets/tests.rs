use super::*;

fn us() -> Header {
    packet::header(&[1; 12]).unwrap()
}
fn peer() -> Header {
    packet::header(&[2; 12]).unwrap()
}

/// Resets with a peer whose initial TSN is `first` and whose earlier data has all been received.
fn resets(first: u32) -> Resets {
    let mut resets = Resets::default();
    let init = [&[2; 12][..], &[1, 0, 0, 20], &[0; 12], &first.to_be_bytes()].concat();
    assert_eq!(resets.received(init.clone().into()), Some(init.into()));
    // This side has sent data with TSNs 100 and 101.
    let data = |tsn: u8| [0, 3, 0, 17, 0, 0, 0, tsn, 0, 0, 0, 0, 0, 0, 0, 53, 1, 0, 0, 0];
    resets.sent(&[&[1; 12][..], &data(100), &data(101)].concat());
    resets
}

fn request(sequence: u32, last_tsn: u32, streams: &[u16]) -> Bytes {
    packet::reset_request(peer(), sequence, 0, last_tsn, streams)
}

fn response(sequence: u32, outcome: Outcome) -> Bytes {
    packet::response(peer(), sequence, outcome)
}

fn answer(sequence: u32) -> Option<Bytes> {
    Some(packet::response(us(), sequence, Outcome::Performed))
}

fn idle(_: u16) -> StreamState {
    StreamState::Idle
}

fn absent(_: u16) -> StreamState {
    StreamState::Absent
}

/// The request that is sent now, if any; there must be no responses to send.
fn requested(resets: &mut Resets, now: Instant) -> Option<(u32, u32, Vec<u16>)> {
    let packet = resets.transmit(now, idle)?;
    match &packet::read(&packet)[..] {
        [Chunk::ResetRequest { sequence, last_tsn, streams }] => Some((*sequence, *last_tsn, streams.clone())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_is_retransmitted_until_the_response_and_only_then_is_the_next_sent() {
    let now = Instant::now();
    let mut resets = resets(10);
    resets.close(2);
    resets.close(4);
    assert_eq!(requested(&mut resets, now), Some((100, 101, vec![2, 4])));
    resets.close(6);
    assert_eq!(requested(&mut resets, now), None);
    assert_eq!(resets.next_retransmission(), Some(now + FIRST_RETRANSMISSION));
    resets.received(response(100, Outcome::InProgress));
    resets.received(response(99, Outcome::Performed));
    assert_eq!(requested(&mut resets, now + FIRST_RETRANSMISSION), Some((100, 101, vec![2, 4])));
    assert!([2, 4, 6].iter().all(|&id| resets.is_in_progress(id)) && !resets.is_in_progress(8));
    resets.received(response(100, Outcome::Performed));
    assert!(!resets.is_in_progress(2) && !resets.is_in_progress(4) && resets.is_in_progress(6));
    assert_eq!(requested(&mut resets, now), Some((101, 101, vec![6])));
    resets.received(response(101, Outcome::Performed));
    assert_eq!((requested(&mut resets, now + MAX_RETRANSMISSION_INTERVAL), resets.next_retransmission()), (None, None));
}

#[test]
fn a_stream_with_unacknowledged_data_is_not_reset() {
    let now = Instant::now();
    let mut resets = resets(10);
    resets.close(2);
    assert_eq!(resets.transmit(now, |_| StreamState::Busy), None);
    assert!(resets.is_in_progress(2));
    assert_eq!(requested(&mut resets, now), Some((100, 101, vec![2])));
}

#[test]
fn an_id_whose_reset_was_denied_is_not_reused() {
    let now = Instant::now();
    let mut resets = resets(10);
    resets.close(2);
    assert!(requested(&mut resets, now).is_some());
    resets.received(response(100, Outcome::Denied));
    assert_eq!(requested(&mut resets, now + MAX_RETRANSMISSION_INTERVAL), None);
    assert!(resets.is_in_progress(2));
}

#[test]
fn the_peers_reset_waits_for_data_and_reader_and_is_performed_once() {
    let now = Instant::now();
    let mut resets = resets(10);
    let early = request(10, 11, &[2]);
    for _ in 0..2 {
        assert_eq!(resets.received(early.clone()), None, "the library does not get it");
        assert_eq!(resets.release(idle), None);
        assert!(resets.ended(|_| false).is_empty());
    }
    resets.acknowledged(11);
    assert!(resets.ended(|_| true).is_empty() && resets.ended(|_| false) == [2]);
    assert!(resets.has_due(idle) && !resets.has_due(|_| StreamState::Busy));
    assert_eq!(resets.release(|_| StreamState::Busy), None);
    assert!(resets.is_in_progress(2));
    assert!(resets.release(idle).is_some());
    assert_eq!(resets.release(idle), None);
    assert_eq!(resets.transmit(now, idle), answer(10));
    resets.received(early);
    assert_eq!(resets.release(idle), None, "it gets another response but is not performed again");
    assert_eq!(resets.transmit(now, |_| StreamState::Busy), answer(10));
}

#[test]
fn a_reset_of_several_streams_is_performed_as_a_whole() {
    let mut resets = resets(10);
    resets.received(request(10, 9, &[2, 4]));
    assert_eq!(resets.release(|id| if id == 4 { StreamState::Busy } else { StreamState::Idle }), None);
    let library = resets.release(idle).unwrap();
    assert_eq!(packet::read(&library), [Chunk::ResetRequest { sequence: 10, last_tsn: 9, streams: vec![2, 4] }]);
}

#[test]
fn the_peers_reset_is_followed_by_ours_unless_ours_came_first() {
    let now = Instant::now();
    let mut resets = resets(10);
    resets.close(2);
    assert_eq!(requested(&mut resets, now), Some((100, 101, vec![2])));
    resets.received(response(100, Outcome::Performed));
    resets.received(request(10, 9, &[2, 4, 6]));
    assert!(resets.release(|id| if id == 6 { StreamState::Absent } else { StreamState::Idle }).is_some());
    assert_eq!(resets.transmit(now, idle), answer(10));
    assert_eq!(requested(&mut resets, now), Some((101, 101, vec![4])));
    assert!(!resets.is_in_progress(2) && resets.is_in_progress(4));
}

#[test]
fn a_lost_reset_is_performed_when_it_arrives_after_later_ones() {
    let mut resets = resets(u32::MAX - 5);
    let lost = resets.next.unwrap();
    let later = |i: u32| lost.wrapping_add(i);
    for i in 1..HELD_RESETS {
        resets.received(request(later(i), lost.wrapping_sub(1), &[2]));
        assert!(resets.release(absent).is_some(), "{i}");
    }
    resets.received(request(later(HELD_RESETS), lost.wrapping_sub(1), &[2]));
    assert_eq!(resets.release(absent), None, "too far ahead: the peer retransmits it");
    resets.received(request(lost, lost.wrapping_sub(1), &[2]));
    assert!(resets.release(absent).is_some());
    for i in 0..HELD_RESETS {
        resets.received(request(later(i), lost.wrapping_sub(1), &[2]));
        assert_eq!(resets.release(absent), None, "{i} was performed already");
    }
    resets.received(request(later(HELD_RESETS), lost.wrapping_sub(1), &[2]));
    assert!(resets.release(absent).is_some());
    assert!(resets.done.is_empty());
}

#[test]
fn other_requests_are_denied_and_do_not_block_resets() {
    let now = Instant::now();
    let mut resets = resets(10);
    let add_streams = [&[2; 12][..], &[130, 0, 0, 16, 0, 17, 0, 12, 0, 0, 0, 10, 0, 9, 0, 0]].concat();
    assert_eq!(resets.received(add_streams.into()), None);
    assert_eq!(resets.transmit(now, idle), Some(packet::response(us(), 10, Outcome::Denied)));
    resets.received(request(11, 9, &[2]));
    assert!(resets.release(absent).is_some());
    assert_eq!(resets.next, Some(12));
}

#[test]
fn held_requests_and_queued_responses_are_bounded() {
    let mut resets = resets(10);
    for sequence in 0..1000 {
        resets.received(request(sequence, 99, &[2]));
        resets.received(request(9, 9, &[2]));
    }
    assert_eq!(resets.held.len(), HELD_RESETS as usize);
    assert_eq!(resets.answers.len(), RESET_ANSWERS);
}

#[test]
fn resets_of_more_streams_than_can_exist_are_denied() {
    let now = Instant::now();
    let mut resets = resets(10);
    let streams: Vec<u16> = (0..HELD_RESET_STREAMS as u16).collect();
    resets.received(request(10, 11, &[2, 2, 2]));
    assert_eq!(resets.held[0].streams, [2], "duplicates are removed");
    resets.received(request(11, 11, &streams));
    assert_eq!(resets.held.len(), 1);
    assert_eq!(resets.transmit(now, idle), Some(packet::response(us(), 11, Outcome::Denied)));
    resets.received(request(12, 11, &streams[1..]));
    assert_eq!(resets.held.len(), 2);
}
