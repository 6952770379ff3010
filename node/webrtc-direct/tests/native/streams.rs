use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p_webrtc_direct::credentials::Version;
use libp2p_webrtc_direct::limits::{
    RECEIVE_WINDOW_BYTES, SCTP_RECEIVE_BYTES, SCTP_SEND_BYTES, SEND_BUFFER_BYTES, UNREAD_BYTES,
};

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
            // And the other way round.
            std::mem::swap(&mut dialled, &mut accepted);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_one_after_another_leave_nothing_behind() {
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
    until("all streams of the dialer are forgotten", || dialled.streams() == 0).await;
    let growth = memory().saturating_sub(before);
    assert!(growth < 8 << 20, "{growth} bytes more after {STREAMS} streams");
    drop(dialled);
    let accepted = within(echo).await.unwrap();
    until("all streams of the listener are forgotten", || accepted.streams() == 0).await;
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
    let pause = std::time::Duration::from_secs(2);
    while let Ok(more) = tokio::time::timeout(pause, writer.write(&data[written..])).await {
        written += more.unwrap();
    }
    assert!(written <= RECEIVE_WINDOW_BYTES + SEND_BUFFER_BYTES, "{written} bytes taken with nobody reading");

    // The rest of the connection goes on meanwhile.
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
async fn a_dropped_stream_is_reset_at_the_other_end_and_no_other_stream_is() {
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
    until("reset streams are forgotten", || dialled.streams() + accepted.streams() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_at_once_share_a_connection() {
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

/// More than all streams together may hold, and nobody reads: the writers wait, memory stays bounded, and in the
/// end everything arrives.
#[tokio::test(flavor = "multi_thread")]
async fn many_slow_readers_cost_no_more_than_the_connection_may() {
    let _quiet = alone().await;
    const STREAMS: usize = 100;
    let mut server = Server::start(config()).await;
    let (mut dialled, mut accepted) = server.connect(Version::V2).await;
    let before = memory();
    let (mut writing, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..STREAMS {
        let mut stream = open(&mut dialled).await;
        stream.write_all(b"!").await.unwrap();
        writing.push(tokio::spawn(async move {
            stream.write_all(&pattern(RECEIVE_WINDOW_BYTES)).await.unwrap();
            stream.close().await.unwrap();
            stream
        }));
        readers.push(accept(&mut accepted).await);
    }
    let mut last = 0;
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let now = memory();
        if now.abs_diff(last) < 1 << 20 {
            break;
        }
        last = now;
    }
    // Both ends are in this process: what the writers hold back is theirs, what the readers hold is bounded.
    let held = memory().saturating_sub(before);
    let writers = STREAMS * (RECEIVE_WINDOW_BYTES + SEND_BUFFER_BYTES);
    let bound = writers + UNREAD_BYTES + SCTP_RECEIVE_BYTES as usize + SCTP_SEND_BYTES + (8 << 20);
    assert!(held < bound, "{held} bytes held");
    for mut reader in readers {
        let mut seen = Vec::new();
        within(reader.read_to_end(&mut seen)).await.unwrap();
        assert!(seen[0] == b'!' && seen[1..] == pattern(RECEIVE_WINDOW_BYTES));
    }
    for writing in writing {
        within(writing).await.unwrap();
    }
}
