//! Blobs by name: found here, or at their home, or at whoever else has fetched them.
//!
//! What many peers want (a module, an index) leaves its home only a few times: while uploads of it run, the
//! home names peers that have it already, so that its uplink carries it once or twice, not once a worker.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::core::{Core, Pending};
use crate::id::{Hash, PeerKey};
use crate::io::{Action, BlobClass, RequestError, Token};
use crate::limits;
use crate::message::{Request, Response};
use crate::time::Time;

/// An upload is thought to be over after so long: a redirect to a peer that is not yet done costs one try.
const UPLOAD_TIME: Duration = Duration::from_millis(500);
/// A fetch is given up after so many answers that were no help.
const TRIES: u32 = 8;
/// The pause after an answer that was no help.
const RETRY: Duration = Duration::from_millis(200);
/// Shared blobs whose uploads are counted: module and index of the jobs that live here.
const SHARED: usize = 2 * limits::JOBS_OF_OWNER;

/// Blobs being fetched and served.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    fetches: BTreeMap<Hash, Fetch>,
    uploads: BTreeMap<Hash, VecDeque<(Time, PeerKey)>>,
}

#[derive(Debug)]
struct Fetch {
    home: PeerKey,
    /// Peers to be asked before the home.
    others: VecDeque<PeerKey>,
    /// `None` for a pack: used once, not kept.
    class: Option<BlobClass>,
    tries: u32,
    /// When to ask again; `NEVER` while an answer is awaited.
    ask_at: Time,
}

/// A blob that arrived, or `None` if it cannot be had.
pub(super) type Fetched = (Hash, Option<Bytes>);

impl Blobs {
    /// Starts fetching a blob, unless that is under way.
    pub(super) fn fetch(&mut self, core: &mut Core, hash: Hash, home: PeerKey, class: Option<BlobClass>) {
        if self.fetches.contains_key(&hash) {
            return;
        }
        let fetch = Fetch { home, others: VecDeque::new(), class, tries: 0, ask_at: Time::NEVER };
        self.fetches.insert(hash, fetch);
        core.act(Action::LoadBlob { hash });
    }

    /// This peer looked on its own disk.
    pub(super) fn loaded(&mut self, core: &mut Core, hash: Hash, bytes: Option<Bytes>) -> Option<Fetched> {
        let fetch = self.fetches.get_mut(&hash)?;
        if bytes.is_some() || fetch.home == core.me {
            self.fetches.remove(&hash);
            return Some((hash, bytes));
        }
        fetch.ask(core, hash);
        None
    }

    /// Another peer answered.
    pub(super) fn answered(
        &mut self,
        core: &mut Core,
        hash: Hash,
        from: PeerKey,
        outcome: Result<(Response, Bytes), RequestError>,
    ) -> Option<Fetched> {
        let fetch = self.fetches.get_mut(&hash)?;
        match outcome {
            Ok((Response::Body, bytes)) => {
                if let Some(class) = fetch.class {
                    core.act(Action::StoreBlob { hash, bytes: bytes.clone(), class });
                }
                self.fetches.remove(&hash);
                return Some((hash, Some(bytes)));
            }
            Ok((Response::Redirect(peers), _)) if from == fetch.home => {
                let me = core.me;
                fetch.others.extend(peers.into_iter().filter(|p| *p != me).take(limits::REDIRECTS));
            }
            _ => {}
        }
        fetch.tries += 1;
        if fetch.tries >= TRIES {
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

    /// Asks again where a pause is over.
    pub(super) fn tick(&mut self, core: &mut Core) {
        let now = core.now;
        for (&hash, fetch) in self.fetches.iter_mut().filter(|(_, f)| f.ask_at <= now) {
            fetch.ask(core, hash);
        }
    }

    /// Names a blob that many will ask for.
    pub(super) fn share(&mut self, hash: Hash) {
        if self.uploads.len() < SHARED {
            self.uploads.entry(hash).or_default();
        }
    }

    /// A blob is not asked for any more.
    pub(super) fn unshare(&mut self, hash: &Hash) {
        self.uploads.remove(hash);
        self.fetches.remove(hash);
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
        core.act(Action::ServeBlob { token, hash });
    }
}

impl Fetch {
    fn ask(&mut self, core: &mut Core, hash: Hash) {
        self.ask_at = Time::NEVER;
        let from = self.others.pop_front().unwrap_or(self.home);
        core.request(from, Request::Blob { hash }, vec![], Pending::Blob { hash, from });
    }
}
