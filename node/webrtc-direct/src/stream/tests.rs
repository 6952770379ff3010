use std::task::Poll;

use super::*;
use crate::limits::{SEND_BUFFER_BYTES, UNREAD_BYTES};
use proptest::prelude::*;

/// Unlimited memory for the connection.
const SPARE: usize = usize::MAX;

/// Exchanges messages between two streams until neither has any.
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
fn halves_close_independently_and_the_channel_after_both() {
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
fn fin_follows_the_written_data() {
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
fn releasing_an_open_stream_resets_it() {
    let (mut a, mut b) = pair();
    write_all(&mut a, b"half a");
    a.release();
    exchange(&mut a, &mut b);
    assert_eq!(b.read(&mut [0]), Poll::Ready(Err(StreamError::Reset)));
    assert_eq!(b.write(b"x"), Poll::Ready(Err(StreamError::Stopped)));
    assert!(b.is_done(), "b has received everything, so it may close the channel");
    b.release();
    exchange(&mut a, &mut b);
    assert!(a.is_done());
}

#[test]
fn releasing_a_closed_stream_still_delivers_its_data() {
    let (mut a, mut b) = pair();
    write_all(&mut a, b"all of it");
    a.close_write();
    a.release();
    exchange(&mut a, &mut b);
    assert_eq!(read_all(&mut b), b"all of it");
    assert_eq!(b.read(&mut [0]), Poll::Ready(Ok(0)));
    assert!(b.is_done(), "FIN and STOP_SENDING were received and confirmed");
}

#[test]
fn flushing_succeeds_if_everything_was_sent_before_stop_sending() {
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
fn flags_take_effect_after_reading_was_stopped() {
    let (mut a, mut b) = pair();
    a.stop_reading();
    a.close_write();
    exchange(&mut a, &mut b);
    assert_eq!(b.write(b"x"), Poll::Ready(Err(StreamError::Stopped)));
    assert!(!a.is_done(), "b has not ended its direction");
    b.release();
    exchange(&mut a, &mut b);
    assert!(a.is_done(), "the FIN_ACK and b's end were received");
}

/// The opener closes the channel, so it must become done whatever the order of closes and releases.
#[test]
fn both_ends_are_done_once_both_are_released_in_any_order() {
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
fn a_repeated_fin_is_confirmed_again() {
    let mut stream = Stream::new(Credits::Unknown, true);
    for _ in 0..2 {
        stream.receive(Message::flag(Flag::Fin).encode()).unwrap();
        assert_eq!(stream.next_message(), Some(Message::flag(Flag::FinAck).encode()));
    }
}

#[test]
fn data_received_before_the_channel_closed_stays_readable() {
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
fn a_paused_reader_stops_the_writer_at_the_window() {
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

    // Reading opens the maximum window, at which the writer stops again.
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

/// Unread data of all streams together is bounded, and each stream continues when its own reader does.
#[test]
fn streams_share_the_connections_limit_on_unread_data() {
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
            assert!(held <= UNREAD_BYTES, "{held} bytes held or granted");
            exchange(writer, reader);
        }
    }
    assert!(beyond > UNREAD_BYTES / 2, "only {beyond} of {UNREAD_BYTES} bytes were used");
}

/// Reads everything, grants from the remainder, and returns what all streams then hold or have granted.
fn beyond_after(all: &mut usize, reader: &mut Stream, buffer: &mut [u8]) -> usize {
    let before = reader.beyond();
    while reader.read(buffer).is_ready() {}
    reader.grant(UNREAD_BYTES - *all);
    *all = *all - before + reader.beyond();
    *all
}

#[test]
fn a_peer_without_credit_support_is_sent_no_credits() {
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
fn a_writer_stays_within_the_initial_window_until_it_gets_a_credit() {
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
    assert_eq!(writer.write(&[1]), Poll::Pending, "the first credit only confirms the initial window");
    assert_eq!(reader.read(&mut vec![0; sent / 2]), Poll::Ready(Ok(sent / 2)));
    exchange(&mut writer, &mut reader);
    assert_eq!(writer.write(&[1]), Poll::Ready(Ok(1)));
}

/// Both windows are full in both directions; credits must still get through.
#[test]
fn full_windows_in_both_directions_do_not_deadlock() {
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
        assert_ne!(before, (asked, answered, carried.len()), "deadlock");
    }
}

#[test]
fn exceeding_the_credit_resets_the_stream() {
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
fn the_send_buffer_is_bounded() {
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
fn a_flood_from_a_peer_without_credit_support_resets_the_stream_at_the_hard_limit() {
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

/// Such a peer treats FIN_ACK as an error while it reads.
#[test]
fn a_peer_that_may_not_support_fin_ack_is_sent_none_before_our_fin() {
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

    // A peer that has sent FIN_ACK itself gets one at once.
    let mut stream = Stream::new(Credits::Absent, false);
    stream.receive(Message::flag(Flag::FinAck).encode()).unwrap();
    stream.receive(Message::flag(Flag::Fin).encode()).unwrap();
    assert!(stream.peer_knows_fin_ack());
    assert_eq!(stream.next_message(), Some(Message::flag(Flag::FinAck).encode()));
}

#[test]
fn messages_to_a_peer_that_may_not_support_fin_ack_are_at_most_8_kib() {
    for (fin_ack, bound) in [(false, 8 * 1024), (true, 16 * 1024)] {
        let mut stream = Stream::new(Credits::Unknown, fin_ack);
        write_all(&mut stream, &[1; INITIAL_WINDOW_BYTES]);
        let longest = std::iter::from_fn(|| stream.next_message()).map(|message| message.len()).max().unwrap();
        assert!(longest <= bound && longest > bound - 16, "{longest}");
    }
}

#[test]
fn a_malformed_message_resets_the_stream() {
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
    /// For any sequence of operations on both ends, data arrives as written, memory stays bounded, and after both are
    /// released the channel may close.
    #[test]
    fn data_arrives_in_order_within_the_memory_limits(
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
