use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{AsyncReadExt, AsyncWriteExt};
use webmesh_webrtc_direct::credentials::Version;
use webmesh_webrtc_direct::limits::{INITIAL_WINDOW_BYTES, RECEIVE_WINDOW_BYTES, UNREAD_BYTES};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_carry_streams_in_both_directions() {
    let _quiet = together().await;
    let mut server = Server::start(config()).await;
    for version in [Version::V1, Version::V2] {
        let (mut dialled, mut accepted) = server.connect(version).await;
        let data = pattern(300_000);
        for _ in 0..2 {
            let (mut ours, mut theirs) = (open(&mut dialled).await, None);
            let (answer, ()) = tokio::join!(within(ask(&mut ours, &data)), async {
                let stream = theirs.insert(accept(&mut accepted).await);
                let mut seen = Vec::new();
                within(stream.read_to_end(&mut seen)).await.unwrap();
                assert!(seen == data);
                within(stream.write_all(b"thanks")).await.unwrap();
                within(stream.close()).await.unwrap();
            });
            assert_eq!(answer.unwrap(), b"thanks");
            // Then in the other direction.
            std::mem::swap(&mut dialled, &mut accepted);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_successive_streams_leave_no_memory() {
    let _quiet = alone().await;
    const STREAMS: usize = 10_000;
    let mut server = Server::start(config()).await;
    let (mut dialled, accepted) = server.connect(Version::V2).await;
    let echo = echo(accepted);
    let mut before = 0;
    for i in 0..STREAMS {
        if i == STREAMS / 10 {
            before = memory();
        }
        let mut stream = open(&mut dialled).await;
        assert_eq!(within(ask(&mut stream, b"hello")).await.unwrap(), b"hello", "stream {i}");
    }
    until("all streams of the dialer are removed", || dialled.streams() == 0).await;
    let growth = memory().saturating_sub(before);
    assert!(growth < 8 << 20, "{growth} bytes more after {STREAMS} streams");
    drop(dialled);
    let accepted = within(echo).await.unwrap();
    until("all streams of the listener are removed", || accepted.streams() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_stops_the_writer_and_loses_nothing() {
    let _quiet = together().await;
    let mut server = Server::start(config()).await;
    let (mut dialled, mut accepted) = server.connect(Version::V2).await;
    let mut writer = open(&mut dialled).await;
    writer.write_all(b"!").await.unwrap();
    let mut reader = accept(&mut accepted).await;

    let data = pattern(8 << 20);
    let mut written = 0;
    while written + 1 < INITIAL_WINDOW_BYTES {
        written += within(writer.write(&data[written..])).await.unwrap();
    }
    let more = futures::poll!(writer.write(&data[written..]));
    assert!(more.is_pending(), "the writer may exceed the initial window: {more:?}");

    // Other streams of the connection are not blocked.
    let mut other = open(&mut dialled).await;
    other.write_all(b"other").await.unwrap();
    let mut seen = [0; 5];
    within(accept(&mut accepted).await.read_exact(&mut seen)).await.unwrap();
    assert_eq!(&seen, b"other");

    let rest = data[written..].to_vec();
    let writing = tokio::spawn(async move {
        writer.write_all(&rest).await.unwrap();
        writer.close().await.unwrap();
        writer
    });
    let mut all = Vec::new();
    within(reader.read_to_end(&mut all)).await.unwrap();
    assert!(all[0] == b'!' && all[1..] == data);
    within(writing).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_stream_resets_it_at_the_other_end_and_no_other_stream() {
    let _quiet = together().await;
    let mut server = Server::start(config()).await;
    let (mut dialled, mut accepted) = server.connect(Version::V2).await;
    let mut kept = open(&mut dialled).await;
    kept.write_all(b"kept").await.unwrap();
    let mut dropped = open(&mut dialled).await;
    dropped.write_all(b"dropped").await.unwrap();
    let (mut first, mut second) = (accept(&mut accepted).await, accept(&mut accepted).await);
    drop(dropped);
    let mut seen = Vec::new();
    let error = within(second.read_to_end(&mut seen)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut seen = [0; 4];
    within(first.read_exact(&mut seen)).await.unwrap();
    assert_eq!(&seen, b"kept");
    drop((second, first, kept));
    until("reset streams are removed", || dialled.streams() + accepted.streams() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_streams_share_a_connection() {
    let _quiet = together().await;
    let mut server = Server::start(config()).await;
    let (mut dialled, accepted) = server.connect(Version::V2).await;
    let _echo = echo(accepted);
    let data = pattern(100_000);
    let mut asking = Vec::new();
    for _ in 0..100 {
        let (mut stream, data) = (open(&mut dialled).await, data.clone());
        asking.push(tokio::spawn(async move { ask(&mut stream, &data).await.unwrap() == data }));
    }
    for asked in asking {
        assert!(within(asked).await.unwrap());
    }
}

/// More streams with unread data than the connection could hold at the maximum window: the writers wait, memory stays
/// bounded, new streams can be opened, and in the end everything arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_data_of_many_slow_readers_stays_within_the_connections_limit() {
    let _quiet = alone().await;
    const STREAMS: usize = 100;
    /// Read from each stream before its reader pauses, so that its window has grown.
    const READ: usize = INITIAL_WINDOW_BYTES;
    let data: Arc<[u8]> = pattern(2 * RECEIVE_WINDOW_BYTES).into();
    let mut server = Server::start(config()).await;
    let (mut dialled, mut accepted) = server.connect(Version::V2).await;
    let before = memory();
    let written = Arc::new(AtomicUsize::new(0));
    let (mut writing, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..STREAMS {
        let mut stream = open(&mut dialled).await;
        let (data, written) = (data.clone(), written.clone());
        writing.push(tokio::spawn(async move {
            let mut done = 0;
            while done < data.len() {
                let more = stream.write(&data[done..]).await.unwrap();
                written.fetch_add(more, Ordering::Relaxed);
                done += more;
            }
            stream.close().await.unwrap();
            stream
        }));
        let mut reader = accept(&mut accepted).await;
        let mut start = [0; READ];
        within(reader.read_exact(&mut start)).await.unwrap();
        readers.push(reader);
    }
    // Lower bound: what was read, half of each initial window (the last half may not have been granted), and half of
    // the connection's limit.
    let least = STREAMS * (READ + INITIAL_WINDOW_BYTES / 2) + UNREAD_BYTES / 2;
    until("the writers have used their credits", || written.load(Ordering::Relaxed) >= least).await;
    // A round trip, behind all data in flight.
    let mut other = open(&mut dialled).await;
    let (answer, ()) = tokio::join!(within(ask(&mut other, b"there?")), async {
        let mut stream = accept(&mut accepted).await;
        let mut seen = Vec::new();
        within(stream.read_to_end(&mut seen)).await.unwrap();
        within(stream.close()).await.unwrap();
    });
    answer.unwrap();
    let most = STREAMS * (READ + INITIAL_WINDOW_BYTES) + UNREAD_BYTES;
    let all = written.load(Ordering::Relaxed);
    assert!(all <= most, "{all} bytes written");
    // Both ends are in this process, and the allocator fragments: three times the limit, which is still far below the
    // 100 MiB that the writers have to send in total.
    let held = memory().saturating_sub(before);
    assert!(held < 3 * most, "{held} bytes held");
    for (mut reader, writing) in readers.into_iter().zip(writing) {
        let mut rest = Vec::new();
        within(reader.read_to_end(&mut rest)).await.unwrap();
        assert!(rest == data[READ..]);
        within(writing).await.unwrap();
    }
}
