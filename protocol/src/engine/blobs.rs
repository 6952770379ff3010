//! Blobs by hash: fetched from the local store, their homes, or other peers that have fetched them; and served to
//! others.
//!
//! A blob that many peers want (a module, an index) is uploaded by its home only a few times: while uploads of it run,
//! the home redirects requests to peers that have it already, so that its uplink carries it once or twice, not once for
//! each worker.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::core::Core;
use super::pending::{Answer, BlobRequest};
use crate::id::{Hash, PeerKey};
use crate::io::{BlobAction, BlobClass, Token};
use crate::limits;
use crate::manifest::BlobRef;
use crate::message::{Request, Response};
use crate::time::Time;

/// Assumed duration of an upload: a redirect to a peer that has not received it yet costs one try.
const UPLOAD_TIME: Duration = Duration::from_millis(500);
/// Responses without the blob, for each home, after which a fetch is given up.
const TRIES: u32 = 8;
/// Homes of one fetch: as many jobs with the same module or inputs as honest users may have at a time.
const HOMES: usize = 4;
/// The pause after the first response without the blob; it grows with each further one.
const RETRY: Duration = Duration::from_millis(200);
/// Shared blobs whose uploads are counted: module and index of the jobs whose home is this peer.
const SHARED: usize = 2 * limits::JOBS_OF_OWNER;

/// Blobs being fetched and served.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    fetches: BTreeMap<Hash, Fetch>,
    uploads: BTreeMap<Hash, VecDeque<(Time, PeerKey)>>,
}

#[derive(Debug)]
struct Fetch {
    /// The homes of the jobs that need it, asked in turn: a stalled one must not keep it from the others.
    homes: VecDeque<PeerKey>,
    /// Peers that homes named in redirects; they are asked first.
    others: VecDeque<PeerKey>,
    /// `None` for a pack: used once, not kept.
    class: Option<BlobClass>,
    /// The longest length stated for it, in bytes: a hash alone does not bound what is sent.
    most: u64,
    tries: u32,
    /// When to ask again; `NEVER` while an answer is awaited.
    ask_at: Time,
}

/// A blob's hash, and its bytes, or `None` if it is not available.
pub(super) type Fetched = (Hash, Option<Bytes>);

impl Blobs {
    /// Starts fetching a blob; if it is being fetched already, `home` is asked for it as well.
    pub(super) fn fetch(&mut self, core: &mut Core, blob: BlobRef, home: PeerKey, class: Option<BlobClass>) {
        let BlobRef { hash, len } = blob;
        let Some(fetch) = self.fetches.get_mut(&hash) else {
            let (homes, others) = (VecDeque::from([home]), VecDeque::new());
            self.fetches.insert(hash, Fetch { homes, others, class, most: len, tries: 0, ask_at: Time::NEVER });
            core.act(BlobAction::Load { hash });
            return;
        };
        fetch.class = fetch.class.or(class);
        fetch.most = fetch.most.max(len);
        if fetch.homes.len() < HOMES && !fetch.homes.contains(&home) {
            fetch.homes.push_front(home);
            fetch.ask(core, hash);
        }
    }

    /// The local store has looked for a blob.
    pub(super) fn loaded(&mut self, core: &mut Core, hash: Hash, bytes: Option<Bytes>) -> Option<Fetched> {
        let fetch = self.fetches.get_mut(&hash)?;
        let bytes = bytes.filter(|bytes| bytes.len() as u64 <= fetch.most);
        fetch.homes.retain(|home| *home != core.me);
        if bytes.is_some() || fetch.homes.is_empty() {
            self.fetches.remove(&hash);
            return Some((hash, bytes));
        }
        fetch.ask(core, hash);
        None
    }

    /// A request for a blob was answered, or failed.
    pub(super) fn on_response(&mut self, core: &mut Core, request: &BlobRequest, answer: Answer) -> Option<Fetched> {
        let &BlobRequest { hash, from } = request;
        let fetch = self.fetches.get_mut(&hash)?;
        match answer {
            Ok((Response::Body, bytes)) if bytes.len() as u64 <= fetch.most => {
                if let Some(class) = fetch.class {
                    core.act(BlobAction::Store { hash, bytes: bytes.clone(), class });
                }
                self.fetches.remove(&hash);
                return Some((hash, Some(bytes)));
            }
            Ok((Response::Redirect(peers), _)) if fetch.homes.contains(&from) => {
                let me = core.me;
                fetch.others.extend(peers.into_iter().filter(|p| *p != me).take(limits::REDIRECTS));
            }
            _ => {}
        }
        fetch.tries += 1;
        if fetch.tries >= TRIES * fetch.homes.len() as u32 {
            self.fetches.remove(&hash);
            return Some((hash, None));
        }
        if fetch.others.is_empty() {
            fetch.ask_at = core.now + RETRY * fetch.tries;
        } else {
            fetch.ask(core, hash);
        }
        None
    }

    /// Asks again if a pause is over.
    pub(super) fn tick(&mut self, core: &mut Core) {
        let now = core.now;
        for (&hash, fetch) in self.fetches.iter_mut().filter(|(_, f)| f.ask_at <= now) {
            fetch.ask(core, hash);
        }
    }

    /// Counts the uploads of a blob that many peers will ask for.
    pub(super) fn share(&mut self, hash: Hash) {
        if self.uploads.len() < SHARED {
            self.uploads.entry(hash).or_default();
        }
    }

    /// A blob is no longer needed.
    pub(super) fn unshare(&mut self, hash: &Hash) {
        self.uploads.remove(hash);
        self.fetches.remove(hash);
    }

    /// How many blobs are shared.
    #[cfg(test)]
    pub(super) fn shared(&self) -> usize {
        self.uploads.len()
    }

    /// Answers a peer that wants a blob.
    pub(super) fn serve(&mut self, core: &mut Core, from: PeerKey, token: Token, hash: Hash) {
        if let Some(uploads) = self.uploads.get_mut(&hash) {
            let running = uploads.iter().filter(|(at, _)| core.now.since(*at) < UPLOAD_TIME).count();
            if running >= limits::UPLOADS_OF_BLOB {
                let have = uploads.iter().filter(|(at, peer)| core.now.since(*at) >= UPLOAD_TIME && *peer != from);
                let have: Vec<PeerKey> = have.rev().take(limits::REDIRECTS).map(|(_, peer)| *peer).collect();
                let answer = if have.is_empty() { Response::Busy } else { Response::Redirect(have) };
                core.respond(token, answer);
                return;
            }
            if uploads.len() == limits::REDIRECTS + limits::UPLOADS_OF_BLOB {
                uploads.pop_front();
            }
            uploads.push_back((core.now, from));
        }
        core.act(BlobAction::Serve { token, hash });
    }
}

impl Fetch {
    fn ask(&mut self, core: &mut Core, hash: Hash) {
        self.ask_at = Time::NEVER;
        let from = self.others.pop_front().or_else(|| {
            self.homes.rotate_left(1);
            self.homes.back().copied()
        });
        let Some(from) = from else { return };
        core.request(from, Request::Blob { hash }, vec![], BlobRequest { hash, from });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::tests::core;
    use crate::io::{Action, NetAction, RequestId, StoreAction};

    const HASH: Hash = Hash([7; 32]);
    const BLOB: BlobRef = BlobRef { hash: HASH, len: 4 };

    fn peer(n: u8) -> PeerKey {
        PeerKey([n; 32])
    }

    /// The requests for the blob since the last call, and the peers that were asked.
    fn asked(core: &mut Core) -> Vec<(RequestId, PeerKey)> {
        let asked = core.actions.drain(..).filter_map(|action| match action {
            Action::Net(NetAction::Request { id, to, .. }) => Some((id, to)),
            _ => None,
        });
        asked.collect()
    }

    #[test]
    fn a_stalled_home_does_not_keep_a_blob_from_a_job_with_another_home() {
        let (mut core, mut blobs) = (core(), Blobs::default());
        blobs.fetch(&mut core, BLOB, peer(1), Some(BlobClass::Module));
        assert_eq!(blobs.loaded(&mut core, HASH, None), None);
        assert_eq!(asked(&mut core).iter().map(|a| a.1).collect::<Vec<_>>(), [peer(1)]);
        // That one never answers.
        blobs.fetch(&mut core, BLOB, peer(2), Some(BlobClass::Module));
        assert_eq!(asked(&mut core).iter().map(|a| a.1).collect::<Vec<_>>(), [peer(2)]);
        let found = blobs.on_response(
            &mut core,
            &BlobRequest { hash: HASH, from: peer(2) },
            Ok((Response::Body, Bytes::from_static(b"here"))),
        );
        assert_eq!(found, Some((HASH, Some(Bytes::from_static(b"here")))));
    }

    #[test]
    fn a_blob_that_is_longer_than_stated_is_rejected() {
        let (mut core, mut blobs) = (core(), Blobs::default());
        blobs.fetch(&mut core, BLOB, peer(1), Some(BlobClass::Module));
        let long = || Bytes::from_static(b"longer");
        assert_eq!(blobs.loaded(&mut core, HASH, Some(long())), None, "other peers are asked");
        assert_eq!(
            blobs.on_response(&mut core, &BlobRequest { hash: HASH, from: peer(1) }, Ok((Response::Body, long()))),
            None
        );
        assert!(
            !core
                .actions
                .iter()
                .any(|action| matches!(action, Action::Store(StoreAction::Blobs(BlobAction::Store { .. })))),
            "it is not stored"
        );
    }

    #[test]
    fn a_blob_that_no_home_has_is_given_up() {
        let (mut core, mut blobs) = (core(), Blobs::default());
        blobs.fetch(&mut core, BLOB, peer(1), None);
        blobs.fetch(&mut core, BLOB, peer(2), None);
        blobs.loaded(&mut core, HASH, None);
        for answers in 0..100 {
            core.now = core.now + Duration::from_secs(10);
            blobs.tick(&mut core);
            for (_, from) in asked(&mut core) {
                if let Some(given_up) = blobs.on_response(
                    &mut core,
                    &BlobRequest { hash: HASH, from },
                    Ok((Response::Missing, Bytes::new())),
                ) {
                    assert_eq!(given_up, (HASH, None));
                    assert!(answers >= 8, "after {answers} answers");
                    return;
                }
            }
        }
        panic!("it was not given up");
    }
}
