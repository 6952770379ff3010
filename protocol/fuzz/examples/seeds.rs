//! Writes valid values of every kind into the fuzzer's corpus, so that it need not guess field names.

use std::fmt::Debug;
use std::path::Path;
use std::{fs, io};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use webmesh_protocol::codec::encode;
use webmesh_protocol::message::{Request, Response};

#[path = "../../tests/decoders/strategies.rs"]
mod strategies;

/// Values of each kind.
const SEEDS: usize = 100;

fn main() -> io::Result<()> {
    write("wire", "gossip", strategies::gossip(), |v| [&[0], &encode(v)[..]].concat())?;
    write("wire", "request", strategies::request(), |v| [&[1], &encode(v)[..]].concat())?;
    write("wire", "response", strategies::response(), |v| [&[2], &encode(v)[..]].concat())?;
    write("wire", "epoch", strategies::epoch(), |v| [&[3], &encode(v)[..]].concat())?;
    write("wire", "end", strategies::end(), |v| [&[4], &encode(v)[..]].concat())?;
    write("wire", "manifest", strategies::manifest(), |v| [&[5], &encode(v)[..]].concat())?;
    write("wire", "index", strategies::index(), |v| [&[6], &encode(v)[..]].concat())?;
    let ended = strategies::signed(strategies::end()).prop_map(Request::Ended);
    write("signed", "ended", ended, encode)?;
    let epoch = strategies::signed(strategies::epoch());
    write("signed", "epoch", epoch.prop_map(Request::NewEpoch), encode)?;
    let manifest = strategies::signed(strategies::manifest());
    write("signed", "manifest", manifest.prop_map(Response::Manifest), encode)?;
    write("pack", "pack", strategies::pack(), Vec::clone)?;
    write("segment", "segment", strategies::segment(), |v| [&[1], &v[..]].concat())
}

/// Writes seeds of one kind for one target.
fn write<T: Debug>(
    target: &str,
    kind: &str,
    values: impl Strategy<Value = T>,
    bytes: impl Fn(&T) -> Vec<u8>,
) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    let mut runner = TestRunner::deterministic();
    for i in 0..SEEDS {
        let value = values.new_tree(&mut runner).map_err(|e| io::Error::other(e.to_string()))?.current();
        fs::write(folder.join(format!("{kind}-{i}")), bytes(&value))?;
    }
    Ok(())
}
