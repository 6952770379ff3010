use std::task::Poll;

use super::*;
use crate::limits::{SEND_BUFFER_BYTES, UNREAD_BYTES};
use proptest::prelude::*;

/// Nothing is scarce.
const SPARE: usize = usize::MAX;

/// Moves messages between two streams until neither has any.
fn exchange(a: &mut Stream, b: &mut Stream) {
    a.grant(SPARE);
    b.grant(SPARE);
    while a.has_message() || b.has_message() {
        while let Some(message) = a.next_message() {
            b.receive(message).unwrap();
        }
        while let Some(message) = b.next_message() {
            a.receive(message).unwrap();
        }
    }
}

fn pair() -> (Stream, Stream) {
    (Stream::new(Credits::Unknown, true), Stream::new(Credits::Unknown, true))
}

fn read_all(stream: &mut Stream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 1000];
    while let Poll::Ready(Ok(length @ 1..)) = stream.read(&mut buffer) {
        all.extend_from_slice(&buffer[..length]);
    }
    all
}

fn write_all(stream: &mut Stream, data: &[u8]) {
    assert_eq!(stream.write(data), Poll::Ready(Ok(data.len())));
}

#[test]
fn each_half_closes_on_its_own_and_the_channel_after_both() {
    let (mut a, mut b) = pair();
    write_all(&mut a, b"question");
    a.close_write();
    exchange(&mut a, &mut b);
    assert_eq!(a.poll_flushed(), Poll::Ready(Ok(())));
    assert_eq!(read_all(&mut b), b"question");
    assert_eq!(b.read(&mut [0]), Poll::Ready(Ok(0)));
    assert!(!a.is_done() && !b.is_done());
    assert_eq!(a.write(b"more"), Poll::Ready(Err(StreamError::Closed)));

    write_all(&mut b, b"answer");
    b.close_write();
    exchange(&mut a, &mut b);
    assert_eq!(read_all(&mut a), b"answer");
    assert!(a.is_done() && b.is_done());
}

#[test]
fn closing_waits_for_what_was_written() {
    let (mut a, mut b) = pair();
    write_all(&mut a, b"data");
    a.close_write();
    assert_eq!(a.poll_flushed(), Poll::Pending);
    let data = a.next_message().unwrap();
    assert_eq!(a.poll_flushed(), Poll::Pending);
    let fin = a.next_message().unwrap();
    assert_eq!(a.poll_flushed(), Poll::Ready(Ok(())));
    b.receive(data).unwrap();
    assert_eq!(read_all(&mut b), b"data");
    assert_eq!(b.read(&mut [0]), Poll::Pending);
    assert!(b.receive(fin).unwrap().readable);
    assert_eq!(b.read(&mut [0]), Poll::Ready(Ok(0)));
}

#[test]
fn a_released_stream_that_was_not_closed_is_reset() {
    let (mut a, mut b) = pair();
    write_all(&mut a, b"half a");
    a.release();
    exchange(&mut a, &mut b);
    assert_eq!(b.read(&mut [0]), Poll::Ready(Err(StreamError::Reset)));
    assert_eq!(b.write(b"x"), Poll::Ready(Err(StreamError::Stopped)));
    assert!(b.is_done(), "the channel may be closed, by the end that has heard all");
    b.release();
    exchange(&mut a, &mut b);
    assert!(a.is_done());
}

#[test]
fn a_released_stream_that_was_closed_delivers_first() {
    let (mut a, mut b) = pair();
    write_all(&mut a, b"all of it");
    a.close_write();
    a.release();
    exchange(&mut a, &mut b);
    assert_eq!(read_all(&mut b), b"all of it");
    assert_eq!(b.read(&mut [0]), Poll::Ready(Ok(0)));
    assert!(b.is_done(), "FIN and STOP_SENDING were heard and confirmed");
}

#[test]
fn what_was_sent_is_flushed_though_the_peer_reads_no_more() {
    let (mut a, mut b) = pair();
    write_all(&mut a, b"last message");
    exchange(&mut a, &mut b);
    b.release();
    exchange(&mut a, &mut b);
    assert_eq!(a.poll_flushed(), Poll::Ready(Ok(())));
    assert_eq!(a.write(b"more"), Poll::Ready(Err(StreamError::Stopped)));

    let (mut a, mut b) = pair();
    b.stop_reading();
    write_all(&mut a, b"still here");
    a.receive(b.next_message().unwrap()).unwrap();
    assert_eq!(a.poll_flushed(), Poll::Ready(Err(StreamError::Stopped)), "it will never be sent");
}

#[test]
fn flags_are_acted_on_after_reading_was_stopped() {
    let (mut a, mut b) = pair();
    a.stop_reading();
    a.close_write();
    exchange(&mut a, &mut b);
    assert_eq!(b.write(b"x"), Poll::Ready(Err(StreamError::Stopped)));
    assert!(!a.is_done(), "b has not said that it sends no more");
    b.release();
    exchange(&mut a, &mut b);
    assert!(a.is_done(), "the FIN_ACK was heard, and b's end");
}

/// Who opened the channel closes it: so the first end has to get there, in whatever order both let go.
#[test]
fn the_first_end_is_done_once_both_have_let_go() {
    type Act = fn(&mut Stream);
    let acts: [Act; 3] = [Stream::close_write, Stream::stop_reading, Stream::release];
    for order in 0..3usize.pow(4) {
        for exchanged in [true, false] {
            let (mut a, mut b) = pair();
            let mut rest = order;
            for step in 0..4 {
                acts[rest % 3](if step % 2 == 0 { &mut a } else { &mut b });
                rest /= 3;
                if exchanged {
                    exchange(&mut a, &mut b);
                }
            }
            b.release();
            if exchanged {
                exchange(&mut a, &mut b);
            }
            a.release();
            exchange(&mut a, &mut b);
            assert!(a.is_done(), "{order}, {exchanged}: {a:?} {b:?}");
            assert!(b.is_done(), "{order}, {exchanged}: {a:?} {b:?}");
        }
    }
}

#[test]
fn a_fin_is_confirmed_each_time() {
    let mut stream = Stream::new(Credits::Unknown, true);
    for _ in 0..2 {
        stream.receive(Message::flag(Flag::Fin).encode()).unwrap();
        assert_eq!(stream.next_message(), Some(Message::flag(Flag::FinAck).encode()));
    }
}

#[test]
fn a_channel_that_vanishes_leaves_what_had_come() {
    let (mut a, mut b) = pair();
    write_all(&mut a, b"last words");
    exchange(&mut a, &mut b);
    b.channel_closed();
    assert_eq!(read_all(&mut b), b"last words");
    assert_eq!(b.read(&mut [0]), Poll::Ready(Err(StreamError::Gone)));
    assert_eq!(b.write(b"x"), Poll::Ready(Err(StreamError::Gone)));
    assert!(b.is_done());
}

#[test]
fn a_reader_that_pauses_stops_the_writer_and_nothing_is_lost() {
    let mut writer = Stream::new(Credits::Known, true);
    let mut reader = Stream::new(Credits::Known, true);
    let chunk = [7; 4096];
    let mut sent = 0;
    while let Poll::Ready(written) = writer.write(&chunk) {
        sent += written.unwrap();
        exchange(&mut writer, &mut reader);
    }
    assert_eq!(sent, INITIAL_WINDOW_BYTES);
    assert_eq!(reader.received_bytes, INITIAL_WINDOW_BYTES);

    // A reader that reads gets more, and stops the writer again once it does not.
    let mut buffer = vec![0; INITIAL_WINDOW_BYTES / 2];
    assert_eq!(reader.read(&mut buffer), Poll::Ready(Ok(buffer.len())));
    exchange(&mut writer, &mut reader);
    while let Poll::Ready(written) = writer.write(&chunk) {
        sent += written.unwrap();
        exchange(&mut writer, &mut reader);
    }
    assert_eq!(sent, buffer.len() + RECEIVE_WINDOW_BYTES);
    assert_eq!(reader.received_bytes, RECEIVE_WINDOW_BYTES);
}

/// However many read and stop, what they hold together has its bound, and each goes on when its own reader does.
#[test]
fn streams_share_what_their_connection_may_hold() {
    const STREAMS: usize = 100;
    let mut streams: Vec<_> =
        (0..STREAMS).map(|_| (Stream::new(Credits::Known, true), Stream::new(Credits::Known, true), 0)).collect();
    let mut beyond = 0;
    let mut buffer = vec![0; RECEIVE_WINDOW_BYTES];
    for _ in 0..10 {
        for (writer, reader, carried) in &mut streams {
            let before = *carried;
            while let Poll::Ready(written) = writer.write(&buffer[..SEND_BUFFER_BYTES]) {
                *carried += written.unwrap();
                while let Some(message) = writer.next_message() {
                    reader.receive(message).unwrap();
                }
            }
            assert!(*carried - before >= INITIAL_WINDOW_BYTES, "{before} bytes, then {carried}");
            let held = beyond_after(&mut beyond, reader, &mut buffer);
            assert!(held <= UNREAD_BYTES, "{held} bytes");
            exchange(writer, reader);
        }
    }
    assert!(beyond > UNREAD_BYTES / 2, "little of {UNREAD_BYTES} bytes was used: {beyond}");
}

/// Reads all, grants what is left, and gives what all streams hold then.
fn beyond_after(all: &mut usize, reader: &mut Stream, buffer: &mut [u8]) -> usize {
    let before = reader.beyond();
    while reader.read(buffer).is_ready() {}
    reader.grant(UNREAD_BYTES - *all);
    *all = *all - before + reader.beyond();
    *all
}

#[test]
fn a_peer_that_knows_nothing_of_credits_never_gets_one() {
    let (mut a, mut b) = (Stream::new(Credits::Unknown, true), Stream::new(Credits::Absent, true));
    let mut buffer = vec![0; SEND_BUFFER_BYTES];
    write_all(&mut b, b"any answer");
    exchange(&mut a, &mut b);
    for _ in 0..100 {
        write_all(&mut a, &[1; SEND_BUFFER_BYTES]);
        while let Some(message) = a.next_message() {
            b.receive(message).unwrap();
        }
        assert_eq!(b.read(&mut buffer), Poll::Ready(Ok(SEND_BUFFER_BYTES)));
        assert!(!b.has_message());
    }
}

#[test]
fn a_writer_that_knows_nothing_of_the_peer_keeps_within_the_window_until_told() {
    let (mut writer, mut reader) = (Stream::new(Credits::Unknown, true), Stream::new(Credits::Announce, true));
    let mut sent = 0;
    while let Poll::Ready(written) = writer.write(&[1; 4096]) {
        sent += written.unwrap();
        while let Some(message) = writer.next_message() {
            reader.receive(message).unwrap();
        }
    }
    assert_eq!(sent, INITIAL_WINDOW_BYTES);
    exchange(&mut writer, &mut reader);
    assert!(writer.peer_knows_credits());
    assert_eq!(writer.write(&[1]), Poll::Pending, "the first credit says no more than what is known");
    assert_eq!(reader.read(&mut vec![0; sent / 2]), Poll::Ready(Ok(sent / 2)));
    exchange(&mut writer, &mut reader);
    assert_eq!(writer.write(&[1]), Poll::Ready(Ok(1)));
}

/// Both ends are full in both directions: credits must get through all the same.
#[test]
fn two_ends_that_echo_each_other_do_not_lock_up() {
    let (mut a, mut b) = (Stream::new(Credits::Unknown, true), Stream::new(Credits::Announce, true));
    let (mut asked, mut answered, mut carried) = (0, 0, Vec::new());
    let total = 8 * RECEIVE_WINDOW_BYTES;
    let mut buffer = vec![0; 32 * 1024];
    while answered < total {
        let before = (asked, answered, carried.len());
        if let Poll::Ready(written) = a.write(&vec![1; (total - asked).min(30_000)]) {
            asked += written.unwrap();
        }
        exchange(&mut a, &mut b);
        if carried.is_empty()
            && let Poll::Ready(read) = b.read(&mut buffer)
        {
            carried.extend_from_slice(&buffer[..read.unwrap()]);
        }
        if let Poll::Ready(written) = b.write(&carried) {
            carried.drain(..written.unwrap());
        }
        exchange(&mut a, &mut b);
        if let Poll::Ready(read) = a.read(&mut buffer) {
            answered += read.unwrap();
        }
        assert_ne!(before, (asked, answered, carried.len()), "locked up");
    }
}

#[test]
fn a_peer_that_overruns_its_credit_loses_its_stream() {
    let (mut writer, mut reader) = (Stream::new(Credits::Absent, true), Stream::new(Credits::Known, true));
    while reader.read == ReadHalf::Open {
        assert!(writer.write(&[1; 4096]).is_ready());
        while let Some(message) = writer.next_message() {
            reader.receive(message).unwrap();
        }
        assert!(reader.received_bytes <= INITIAL_WINDOW_BYTES);
    }
    assert_eq!(reader.read(&mut [0]), Poll::Ready(Err(StreamError::Violated)));
}

#[test]
fn what_is_buffered_for_sending_is_bounded() {
    let mut stream = Stream::new(Credits::Absent, true);
    let (mut sent, data) = (0, vec![1; 1 << 20]);
    while let Poll::Ready(written) = stream.write(&data) {
        sent += written.unwrap();
    }
    assert_eq!(sent, SEND_BUFFER_BYTES);
    assert!(stream.next_message().is_some());
    assert_eq!(stream.write(&vec![1; 1 << 20]), Poll::Ready(Ok(DATA_BYTES)));
}

#[test]
fn a_flood_from_a_peer_without_credits_ends_its_stream_only_at_the_hard_bound() {
    let mut stream = Stream::new(Credits::Unknown, true);
    let message = Message { data: vec![1; DATA_BYTES].into(), ..Message::default() }.encode();
    let mut delivered = 0;
    while stream.read == ReadHalf::Open {
        stream.receive(message.clone()).unwrap();
        delivered += DATA_BYTES;
    }
    assert!(delivered > RECEIVE_HARD_BYTES && delivered <= RECEIVE_HARD_BYTES + DATA_BYTES);
    assert_eq!(stream.received_bytes, 0);
    assert_eq!(stream.read(&mut [0]), Poll::Ready(Err(StreamError::Violated)));
    assert_eq!(stream.next_message(), Some(Message::flag(Flag::Reset).encode()));
}

/// Such a peer would take it for garbage while it reads.
#[test]
fn a_peer_that_may_not_know_fin_ack_gets_none_before_our_own_end() {
    let mut stream = Stream::new(Credits::Absent, false);
    stream.receive(Message { data: Bytes::from_static(b"question"), ..Message::default() }.encode()).unwrap();
    stream.receive(Message::flag(Flag::Fin).encode()).unwrap();
    assert_eq!(read_all(&mut stream), b"question");
    assert!(!stream.has_message() && stream.next_message().is_none());
    write_all(&mut stream, b"answer");
    stream.close_write();
    let sent: Vec<_> = std::iter::from_fn(|| stream.next_message()).collect();
    let data = Message { data: Bytes::from_static(b"answer"), ..Message::default() };
    assert_eq!(sent, [data.encode(), Message::flag(Flag::Fin).encode(), Message::flag(Flag::FinAck).encode()]);

    // One that has confirmed a FIN is told at once.
    let mut stream = Stream::new(Credits::Absent, false);
    stream.receive(Message::flag(Flag::FinAck).encode()).unwrap();
    stream.receive(Message::flag(Flag::Fin).encode()).unwrap();
    assert!(stream.peer_knows_fin_ack());
    assert_eq!(stream.next_message(), Some(Message::flag(Flag::FinAck).encode()));
}

#[test]
fn messages_are_short_for_a_peer_that_may_be_old() {
    for (fin_ack, bound) in [(false, 8 * 1024), (true, 16 * 1024)] {
        let mut stream = Stream::new(Credits::Unknown, fin_ack);
        write_all(&mut stream, &[1; INITIAL_WINDOW_BYTES]);
        let longest = std::iter::from_fn(|| stream.next_message()).map(|message| message.len()).max().unwrap();
        assert!(longest <= bound && longest > bound - 16, "{longest}");
    }
}

#[test]
fn garbage_resets_the_stream() {
    let mut stream = Stream::new(Credits::Unknown, true);
    assert!(stream.receive(Bytes::from_static(&[2, 0x08, 9])).is_err());
    assert_eq!(stream.read(&mut [0]), Poll::Ready(Err(StreamError::Violated)));
    assert_eq!(stream.write(b"x"), Poll::Ready(Err(StreamError::Violated)));
    assert_eq!(stream.next_message(), Some(Message::flag(Flag::Reset).encode()));
    assert_eq!(stream.next_message(), Some(Message::flag(Flag::StopSending).encode()));
    assert_eq!(stream.next_message(), None);
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Read(usize),
    Send(usize),
    Close,
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1usize..100_000).prop_map(Step::Write),
        8 => (1usize..100_000).prop_map(Step::Read),
        8 => (1usize..20).prop_map(Step::Send),
        1 => Just(Step::Close),
        1 => Just(Step::Stop),
    ]
}

proptest! {
    /// Whatever two ends do, in whatever order: data arrives as written, memory stays bounded, and two released
    /// ends agree that the channel may close.
    #[test]
    fn data_arrives_in_order_within_bounds(
        steps in proptest::collection::vec((any::<bool>(), step()), 0..200),
        known in any::<bool>(),
    ) {
        let credits = if known { Credits::Known } else { Credits::Unknown };
        let mut ends = [Stream::new(credits, true), Stream::new(credits, true)];
        let (mut written, mut seen, mut stopped) = ([0u64; 2], [0u64; 2], [false; 2]);
        let mut wire: [VecDeque<Bytes>; 2] = Default::default();
        for (first, step) in steps {
            let (me, you) = if first { (0, 1) } else { (1, 0) };
            match step {
                Step::Write(length) => {
                    let data: Vec<u8> = (written[me]..).take(length).map(|i| (i % 251) as u8).collect();
                    if let Poll::Ready(Ok(length)) = ends[me].write(&data) {
                        written[me] += length as u64;
                    }
                }
                Step::Read(length) => {
                    let mut data = vec![0; length];
                    if let Poll::Ready(Ok(length)) = ends[me].read(&mut data) {
                        for byte in &data[..length] {
                            prop_assert_eq!(*byte, (seen[me] % 251) as u8);
                            seen[me] += 1;
                        }
                    }
                }
                Step::Send(count) => {
                    for _ in 0..count {
                        ends[you].grant(SPARE);
                        if known || ends[you].has_room(SPARE) {
                            wire[me].extend(ends[me].next_message());
                            if let Some(message) = wire[me].pop_front() {
                                ends[you].receive(message).unwrap();
                            }
                        }
                    }
                }
                Step::Close => ends[me].close_write(),
                Step::Stop => {
                    ends[me].stop_reading();
                    stopped[me] = true;
                }
            }
            for end in &ends {
                prop_assert!(end.unsent.len() <= SEND_BUFFER_BYTES);
                prop_assert!(end.received_bytes <= RECEIVE_WINDOW_BYTES + DATA_BYTES);
            }
        }
        let [mut a, mut b] = ends;
        for end in [&mut a, &mut b] {
            end.close_write();
        }
        exchange(&mut a, &mut b);
        for (me, end) in [&mut a, &mut b].into_iter().enumerate() {
            seen[me] += read_all(end).len() as u64;
            if !stopped[me] {
                prop_assert_eq!(seen[me], written[1 - me]);
                prop_assert_eq!(end.read(&mut [0]), Poll::Ready(Ok(0)));
            }
        }
        a.release();
        b.release();
        exchange(&mut a, &mut b);
        prop_assert!(a.is_done() && b.is_done());
    }
}
