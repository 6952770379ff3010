//! Chooses which compiler to ask next and when to give up. Sans-IO: takes the time as an argument.

use std::collections::HashMap;
use std::time::Duration;

use webmesh_protocol::PeerKey;

use crate::platform::Instant;

/// Timeout after which the next compiler is asked as well: a busy, a suspended and a disconnected machine look the
/// same. A typical compile takes a tenth of this.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(10);
/// Time to wait for a compiler once every known one is lost: a restart takes seconds, and so does finding other peers
/// after a common neighbour is lost.
pub(super) const LOST_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to wait while every compiler is busy: their queues are short.
const BUSY_TIMEOUT: Duration = Duration::from_secs(180);
/// Time to look for a first compiler: peers that know one may take a moment to connect.
const FIND_TIMEOUT: Duration = Duration::from_secs(5);
/// Delay before a busy compiler is asked again.
const BUSY_RETRY_DELAY: Duration = Duration::from_millis(300);
/// Delay before a lost compiler is asked again.
const LOST_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Interval of queries for further compilers.
const QUERY_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum number of compilers considered, the nearest first: any peer can claim the role.
const COMPILERS: usize = 16;

/// Why a compiler returned no module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is busy with other requests.
    Busy,
    /// It is unreachable or does not answer; the error.
    Lost(String),
    /// It refused the request, finally; the reason.
    Refused(String),
}

/// The next step of a search for a compiler.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask `peer`; `beside` is a slow compiler that has been asked already and may still answer.
    Ask { peer: PeerKey, beside: Option<PeerKey> },
    /// Wait until then or the next answer, and look for further compilers if `query`. `slow` is a compiler that has not
    /// answered for [`SLOW_AFTER`].
    Wait { until: Instant, query: bool, slow: Option<PeerKey> },
    /// Give up; the reason.
    GiveUp(String),
}

/// The state of a search for a compiler.
#[derive(Debug)]
pub(super) struct Search {
    begun: Instant,
    /// Known compilers, the nearest first.
    known: Vec<PeerKey>,
    /// Compilers that have not answered yet, with the time of the request.
    asking: HashMap<PeerKey, Instant>,
    /// The last failure of each compiler, and its time.
    failures: HashMap<PeerKey, (Failure, Instant)>,
    /// When the first compiler was lost; reset when one answers that it is busy.
    lost_since: Option<Instant>,
    /// When a compiler was first busy.
    busy_since: Option<Instant>,
    /// When the neighbours last answered which compilers they know.
    queried: Option<Instant>,
}

impl Search {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            begun: now,
            known: Vec::new(),
            asking: HashMap::new(),
            failures: HashMap::new(),
            lost_since: None,
            busy_since: None,
            queried: None,
        }
    }

    /// Adds compilers, the nearest first.
    pub(super) fn found(&mut self, compilers: Vec<PeerKey>) {
        for compiler in compilers {
            if self.known.len() < COMPILERS && !self.known.contains(&compiler) {
                self.known.push(compiler);
            }
        }
    }

    /// Adds the compilers that the neighbours know.
    pub(super) fn queried(&mut self, now: Instant, compilers: Vec<PeerKey>) {
        self.queried = Some(now);
        self.found(compilers);
    }

    /// Records that a compiler returned no module. Returns a text for the user if the situation has changed.
    pub(super) fn failed(&mut self, now: Instant, peer: PeerKey, failure: Failure) -> Option<String> {
        self.asking.remove(&peer);
        let seconds = LOST_TIMEOUT.as_secs();
        let text = match &failure {
            Failure::Busy => {
                self.lost_since = None;
                let first = self.busy_since.is_none();
                self.busy_since.get_or_insert(now);
                first.then(|| "waiting for a compiler: it is busy with other jobs".to_owned())
            }
            Failure::Lost(why) => {
                self.lost_since.get_or_insert(now);
                let first = !matches!(self.failures.get(&peer), Some((Failure::Lost(_), _)));
                first.then(|| format!("{why}: looking for another compiler, for up to {seconds} s"))
            }
            Failure::Refused(why) => Some(format!("{why}: looking for another compiler")),
        };
        self.failures.insert(peer, (failure, now));
        text
    }

    /// The next step. A compiler returned by [`Step::Ask`] counts as asked.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        // Requests that may be answered; for lost compilers, only their addresses are being dialled.
        let mut live: Vec<_> = self.asking.iter().filter(|(peer, _)| !self.is_lost(peer)).collect();
        live.sort_by_key(|(_, since)| std::cmp::Reverse(**since));
        let newest = live.first().map(|(peer, since)| (**peer, **since));
        let is_slow = newest.is_none_or(|(_, since)| now >= since + SLOW_AFTER);
        if is_slow && let Some(peer) = self.next(now, newest.is_some()) {
            self.asking.insert(peer, now);
            return Step::Ask { peer, beside: newest.map(|(peer, _)| peer) };
        }
        if let Some((peer, since)) = newest {
            let until = if is_slow { now + LOST_RETRY_DELAY } else { since + SLOW_AFTER };
            return Step::Wait { until, query: is_slow && self.may_query(now), slow: is_slow.then_some(peer) };
        }
        match self.give_up_reason(now) {
            Some(why) => Step::GiveUp(why),
            None => Step::Wait { until: now + QUERY_INTERVAL, query: self.may_query(now), slow: None },
        }
    }

    fn may_query(&self, now: Instant) -> bool {
        self.queried.is_some_and(|at| now >= at + QUERY_INTERVAL)
    }

    /// The next compiler to ask: the nearest not asked before; else, unless `others` are being asked, one whose delay
    /// is over.
    fn next(&self, now: Instant, others: bool) -> Option<PeerKey> {
        let mut free = self.known.iter().filter(|peer| !self.asking.contains_key(peer));
        if let Some(fresh) = free.clone().find(|peer| !self.failures.contains_key(peer)) {
            return Some(*fresh);
        }
        let is_due = |peer: &&PeerKey| match self.failures.get(peer) {
            Some((Failure::Busy, at)) => now >= *at + BUSY_RETRY_DELAY,
            Some((Failure::Lost(_), at)) => now >= *at + LOST_RETRY_DELAY,
            Some((Failure::Refused(_), _)) | None => false,
        };
        free.find(|peer| !others && is_due(peer)).copied()
    }

    fn is_lost(&self, peer: &PeerKey) -> bool {
        matches!(self.failures.get(peer), Some((Failure::Lost(_), _)))
    }

    /// The reason to give up, if there is one.
    fn give_up_reason(&self, now: Instant) -> Option<String> {
        // A lost compiler may be back and compiling; the result of its dial will tell.
        if !self.asking.is_empty() {
            return None;
        }
        let is_over = |since: Option<Instant>, limit| since.is_some_and(|since| now >= since + limit);
        let of = |wanted: fn(&Failure) -> bool| self.failures.values().map(|(t, _)| t).find(|t| wanted(t));
        let role = "start one with `webmesh node --roles compiler`";
        if of(|t| *t == Failure::Busy).is_some() && !is_over(self.busy_since, BUSY_TIMEOUT) {
            return None;
        }
        if let Some(Failure::Lost(why)) = of(|t| matches!(t, Failure::Lost(_))) {
            let seconds = LOST_TIMEOUT.as_secs();
            return is_over(self.lost_since, LOST_TIMEOUT)
                .then(|| format!("{why}, and no other compiler was found within {seconds} s; {role}"));
        }
        if is_over(self.busy_since, BUSY_TIMEOUT) {
            return Some("every compiler of the mesh is busy; try again later".to_owned());
        }
        self.queried?;
        if let Some(Failure::Refused(why)) = of(|t| matches!(t, Failure::Refused(_))) {
            return Some(why.clone());
        }
        is_over(Some(self.begun), FIND_TIMEOUT).then(|| format!("no peer of the mesh has a compiler; {role}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: PeerKey = PeerKey([1; 32]);
    const FAR: PeerKey = PeerKey([2; 32]);

    fn asked(step: Step) -> PeerKey {
        match step {
            Step::Ask { peer, .. } => peer,
            other => panic!("no compiler is asked: {other:?}"),
        }
    }

    /// Steps until the search gives up; returns the time and the reason.
    fn until_given_up(
        search: &mut Search,
        mut now: Instant,
        mut answer: impl FnMut(PeerKey) -> Failure,
    ) -> (Instant, String) {
        loop {
            match search.step(now) {
                Step::Ask { peer, .. } => drop(search.failed(now, peer, answer(peer))),
                Step::Wait { until, query, .. } => {
                    now = until;
                    if query {
                        search.queried(now, vec![]);
                    }
                }
                Step::GiveUp(why) => return (now, why),
            }
        }
    }

    fn lost() -> Failure {
        Failure::Lost("compiler 1: the peer cannot be reached".to_owned())
    }

    #[test]
    fn a_lost_compiler_is_followed_by_the_next_at_once() {
        let now = Instant::now();
        let mut search = Search::new(now);
        search.found(vec![NEAR, FAR]);
        assert_eq!(asked(search.step(now)), NEAR);
        assert!(matches!(search.step(now), Step::Wait { .. }), "one at a time");
        assert!(search.failed(now, NEAR, lost()).is_some_and(|text| text.contains("cannot be reached")));
        assert_eq!(asked(search.step(now)), FAR);
    }

    #[test]
    fn the_next_compiler_is_asked_while_a_slow_one_may_still_answer() {
        let now = Instant::now();
        let mut search = Search::new(now);
        search.found(vec![NEAR, FAR]);
        assert_eq!(asked(search.step(now)), NEAR);
        assert_eq!(search.step(now), Step::Wait { until: now + SLOW_AFTER, query: false, slow: None });
        let later = now + SLOW_AFTER;
        assert_eq!(search.step(later), Step::Ask { peer: FAR, beside: Some(NEAR) });
        // The second compiler's refusal does not end the search: the first may still answer.
        search.failed(later, FAR, Failure::Refused("no".to_owned()));
        assert!(matches!(search.step(later), Step::Wait { .. }));
    }

    #[test]
    fn a_lost_compiler_that_comes_back_is_asked_again() {
        let now = Instant::now();
        let mut search = Search::new(now);
        search.queried(now, vec![NEAR]);
        assert_eq!(asked(search.step(now)), NEAR);
        search.failed(now, NEAR, lost());
        assert!(matches!(search.step(now), Step::Wait { .. }), "not at once");
        assert_eq!(asked(search.step(now + LOST_RETRY_DELAY)), NEAR);
    }

    #[test]
    fn a_new_compiler_is_asked_while_a_lost_one_is_dialled() {
        let now = Instant::now();
        let mut search = Search::new(now);
        search.queried(now, vec![NEAR]);
        search.step(now);
        search.failed(now, NEAR, lost());
        let later = now + LOST_RETRY_DELAY;
        assert_eq!(asked(search.step(later)), NEAR, "its dial does not end");
        search.queried(later, vec![FAR]);
        assert_eq!(asked(search.step(later)), FAR);
    }

    #[test]
    fn the_search_ends_after_its_limit_with_the_reason() {
        let now = Instant::now();
        let search = || {
            let mut search = Search::new(now);
            search.queried(now, vec![NEAR]);
            search
        };
        let (end, why) = until_given_up(&mut search(), now, |_| lost());
        assert!(why.contains("cannot be reached") && why.contains("60 s"), "{why}");
        assert!(end >= now + LOST_TIMEOUT && end < now + 2 * LOST_TIMEOUT);
        let (end, why) = until_given_up(&mut search(), now, |_| Failure::Busy);
        assert!(why.contains("busy"), "{why}");
        assert!(end >= now + BUSY_TIMEOUT);
        let (end, why) = until_given_up(&mut search(), now, |_| Failure::Refused("it has no sandbox".to_owned()));
        assert_eq!((end, &*why), (now, "it has no sandbox"), "a refusal is final");
        let mut none = Search::new(now);
        none.queried(now, vec![]);
        let (end, why) = until_given_up(&mut none, now, |_| unreachable!("there is no compiler"));
        assert!(why.contains("--roles compiler"), "{why}");
        assert!(end >= now + FIND_TIMEOUT && end < now + 2 * FIND_TIMEOUT);
    }

    #[test]
    fn a_refusal_is_final_only_after_the_neighbours_were_asked_for_other_compilers() {
        let now = Instant::now();
        let mut search = Search::new(now);
        search.found(vec![NEAR]);
        search.step(now);
        search.failed(now, NEAR, Failure::Refused("no".to_owned()));
        assert!(matches!(search.step(now), Step::Wait { .. }));
        search.queried(now, vec![FAR]);
        assert_eq!(asked(search.step(now)), FAR);
    }

    #[test]
    fn the_list_of_compilers_is_bounded() {
        let mut search = Search::new(Instant::now());
        search.found((0..100).map(|n| PeerKey([n; 32])).collect());
        assert_eq!(search.known.len(), COMPILERS);
    }
}
