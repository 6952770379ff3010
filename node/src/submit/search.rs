//! Which compiler is asked next, and when the search is given up. Knows neither network nor clock.

use std::collections::HashMap;
use std::time::Duration;

use webmesh_protocol::PeerKey;

use crate::platform::Instant;

/// Once a compiler has not answered within this time, the next one is asked as well: a busy, a suspended and a
/// disconnected machine cannot be told apart. An ordinary compile takes a tenth of it.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(10);
/// How long to wait for a compiler once every known one is lost: a restart takes seconds, and so does finding peers
/// after their common neighbour is gone.
pub(super) const LOST_LIMIT: Duration = Duration::from_secs(60);
/// How long to wait while every compiler is busy: their queues are short.
const BUSY_LIMIT: Duration = Duration::from_secs(180);
/// How long to look for a first compiler: peers that know of one may take a moment to connect.
const FIND_LIMIT: Duration = Duration::from_secs(5);
/// Pause before a busy compiler is asked again.
const BUSY_PAUSE: Duration = Duration::from_millis(300);
/// Pause before a lost compiler is asked again.
const LOST_PAUSE: Duration = Duration::from_secs(1);
/// Pause between looks for compilers that are not known yet.
const LOOK_PAUSE: Duration = Duration::from_millis(250);
/// Compilers that are considered, the nearest: peers may claim the role as they like.
const COMPILERS: usize = 16;

/// Why a compiler gave no module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It has others before us.
    Busy,
    /// It went, or does not answer: why.
    Lost(String),
    /// It will not do it: why.
    Refused(String),
}

/// The next step of a search for a compiler.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask `peer`, though `beside` is asked already and slow.
    Ask { peer: PeerKey, beside: Option<PeerKey> },
    /// Nothing until then, unless an answer comes; and look for further compilers, if `look`. `slow` is a compiler that
    /// has not answered for [`SLOW_AFTER`].
    Wait { until: Instant, look: bool, slow: Option<PeerKey> },
    /// Nothing any more: why.
    GiveUp(String),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Search {
    begun: Instant,
    /// The nearest first.
    known: Vec<PeerKey>,
    /// Since when each is asked.
    asking: HashMap<PeerKey, Instant>,
    /// What was last wrong with each, and when.
    failures: HashMap<PeerKey, (Failure, Instant)>,
    /// When the first was lost, unless one was heard of since.
    lost_since: Option<Instant>,
    busy_since: Option<Instant>,
    /// When the neighbours were last asked whom they know.
    looked: Option<Instant>,
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
            looked: None,
        }
    }

    /// These compilers are there, the nearest first.
    pub(super) fn found(&mut self, compilers: Vec<PeerKey>) {
        for compiler in compilers {
            if self.known.len() < COMPILERS && !self.known.contains(&compiler) {
                self.known.push(compiler);
            }
        }
    }

    /// The neighbours told of all that they know.
    pub(super) fn looked(&mut self, now: Instant, compilers: Vec<PeerKey>) {
        self.looked = Some(now);
        self.found(compilers);
    }

    /// A compiler that was asked gave no module. Gives a word for people, where there is something new to say.
    pub(super) fn failed(&mut self, now: Instant, peer: PeerKey, failure: Failure) -> Option<String> {
        self.asking.remove(&peer);
        let seconds = LOST_LIMIT.as_secs();
        let word = match &failure {
            Failure::Busy => {
                self.lost_since = None;
                let first = self.busy_since.is_none();
                self.busy_since.get_or_insert(now);
                first.then(|| "waiting for a compiler: others have their turn".to_owned())
            }
            Failure::Lost(why) => {
                self.lost_since.get_or_insert(now);
                let first = !matches!(self.failures.get(&peer), Some((Failure::Lost(_), _)));
                first.then(|| format!("{why}: looking for another compiler, for up to {seconds} s"))
            }
            Failure::Refused(why) => Some(format!("{why}: looking for another compiler")),
        };
        self.failures.insert(peer, (failure, now));
        word
    }

    /// What is to be done now. A compiler that it says to ask counts as asked.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        // Those whose answer may come: not the lost ones, whose address is merely tried.
        let mut live: Vec<_> = self.asking.iter().filter(|(peer, _)| !self.is_lost(peer)).collect();
        live.sort_by_key(|(_, since)| std::cmp::Reverse(**since));
        let newest = live.first().map(|(peer, since)| (**peer, **since));
        let is_slow = newest.is_none_or(|(_, since)| now >= since + SLOW_AFTER);
        if is_slow && let Some(peer) = self.next(now, newest.is_some()) {
            self.asking.insert(peer, now);
            return Step::Ask { peer, beside: newest.map(|(peer, _)| peer) };
        }
        if let Some((peer, since)) = newest {
            let until = if is_slow { now + LOST_PAUSE } else { since + SLOW_AFTER };
            return Step::Wait { until, look: is_slow && self.may_look(now), slow: is_slow.then_some(peer) };
        }
        match self.give_up_reason(now) {
            Some(why) => Step::GiveUp(why),
            None => Step::Wait { until: now + LOOK_PAUSE, look: self.may_look(now), slow: None },
        }
    }

    fn may_look(&self, now: Instant) -> bool {
        self.looked.is_some_and(|at| now >= at + LOOK_PAUSE)
    }

    /// The next to be asked: the nearest that was not yet, else, where nobody else is asked, one whose pause is over.
    fn next(&self, now: Instant, others: bool) -> Option<PeerKey> {
        let mut free = self.known.iter().filter(|peer| !self.asking.contains_key(peer));
        if let Some(fresh) = free.clone().find(|peer| !self.failures.contains_key(peer)) {
            return Some(*fresh);
        }
        let is_due = |peer: &&PeerKey| match self.failures.get(peer) {
            Some((Failure::Busy, at)) => now >= *at + BUSY_PAUSE,
            Some((Failure::Lost(_), at)) => now >= *at + LOST_PAUSE,
            Some((Failure::Refused(_), _)) | None => false,
        };
        free.find(|peer| !others && is_due(peer)).copied()
    }

    fn is_lost(&self, peer: &PeerKey) -> bool {
        matches!(self.failures.get(peer), Some((Failure::Lost(_), _)))
    }

    /// Why the search is over, if it is.
    fn give_up_reason(&self, now: Instant) -> Option<String> {
        // One that was lost may be back, and compile: whether it is, the end of its dial will tell.
        if !self.asking.is_empty() {
            return None;
        }
        let is_over = |since: Option<Instant>, limit| since.is_some_and(|since| now >= since + limit);
        let of = |wanted: fn(&Failure) -> bool| self.failures.values().map(|(t, _)| t).find(|t| wanted(t));
        let role = "start one with `webmesh node --roles compiler`";
        if of(|t| *t == Failure::Busy).is_some() && !is_over(self.busy_since, BUSY_LIMIT) {
            return None;
        }
        if let Some(Failure::Lost(why)) = of(|t| matches!(t, Failure::Lost(_))) {
            let seconds = LOST_LIMIT.as_secs();
            return is_over(self.lost_since, LOST_LIMIT)
                .then(|| format!("{why}, and no other compiler was found within {seconds} s; {role}"));
        }
        if is_over(self.busy_since, BUSY_LIMIT) {
            return Some("every compiler of the mesh is busy; try again later".to_owned());
        }
        self.looked?;
        if let Some(Failure::Refused(why)) = of(|t| matches!(t, Failure::Refused(_))) {
            return Some(why.clone());
        }
        is_over(Some(self.begun), FIND_LIMIT).then(|| format!("no peer of the mesh has a compiler; {role}"))
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
            other => panic!("nobody is asked: {other:?}"),
        }
    }

    /// Steps until the search is given up; gives the time that took and why.
    fn until_given_up(
        search: &mut Search,
        mut now: Instant,
        mut answer: impl FnMut(PeerKey) -> Failure,
    ) -> (Instant, String) {
        loop {
            match search.step(now) {
                Step::Ask { peer, .. } => drop(search.failed(now, peer, answer(peer))),
                Step::Wait { until, look, .. } => {
                    now = until;
                    if look {
                        search.looked(now, vec![]);
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
        assert!(search.failed(now, NEAR, lost()).is_some_and(|word| word.contains("cannot be reached")));
        assert_eq!(asked(search.step(now)), FAR);
    }

    #[test]
    fn a_slow_compiler_does_not_keep_the_next_from_being_asked() {
        let now = Instant::now();
        let mut search = Search::new(now);
        search.found(vec![NEAR, FAR]);
        assert_eq!(asked(search.step(now)), NEAR);
        assert_eq!(search.step(now), Step::Wait { until: now + SLOW_AFTER, look: false, slow: None });
        let later = now + SLOW_AFTER;
        assert_eq!(search.step(later), Step::Ask { peer: FAR, beside: Some(NEAR) });
        // The second one's refusal does not end what the first may still do.
        search.failed(later, FAR, Failure::Refused("no".to_owned()));
        assert!(matches!(search.step(later), Step::Wait { .. }));
    }

    #[test]
    fn a_lost_compiler_that_comes_back_is_asked_again() {
        let now = Instant::now();
        let mut search = Search::new(now);
        search.looked(now, vec![NEAR]);
        assert_eq!(asked(search.step(now)), NEAR);
        search.failed(now, NEAR, lost());
        assert!(matches!(search.step(now), Step::Wait { .. }), "not at once");
        assert_eq!(asked(search.step(now + LOST_PAUSE)), NEAR);
    }

    #[test]
    fn another_compiler_that_appears_is_asked_while_a_lost_one_is_tried() {
        let now = Instant::now();
        let mut search = Search::new(now);
        search.looked(now, vec![NEAR]);
        search.step(now);
        search.failed(now, NEAR, lost());
        let later = now + LOST_PAUSE;
        assert_eq!(asked(search.step(later)), NEAR, "its dial hangs from now on");
        search.looked(later, vec![FAR]);
        assert_eq!(asked(search.step(later)), FAR);
    }

    #[test]
    fn the_search_ends_after_its_limit_with_the_reason() {
        let now = Instant::now();
        let search = || {
            let mut search = Search::new(now);
            search.looked(now, vec![NEAR]);
            search
        };
        let (end, why) = until_given_up(&mut search(), now, |_| lost());
        assert!(why.contains("cannot be reached") && why.contains("60 s"), "{why}");
        assert!(end >= now + LOST_LIMIT && end < now + 2 * LOST_LIMIT);
        let (end, why) = until_given_up(&mut search(), now, |_| Failure::Busy);
        assert!(why.contains("busy"), "{why}");
        assert!(end >= now + BUSY_LIMIT);
        let (end, why) = until_given_up(&mut search(), now, |_| Failure::Refused("it has no sandbox".to_owned()));
        assert_eq!((end, &*why), (now, "it has no sandbox"), "a refusal is final");
        let mut none = Search::new(now);
        none.looked(now, vec![]);
        let (end, why) = until_given_up(&mut none, now, |_| unreachable!("there is none"));
        assert!(why.contains("--roles compiler"), "{why}");
        assert!(end >= now + FIND_LIMIT && end < now + 2 * FIND_LIMIT);
    }

    #[test]
    fn a_refusal_is_final_only_once_the_neighbours_were_asked_for_others() {
        let now = Instant::now();
        let mut search = Search::new(now);
        search.found(vec![NEAR]);
        search.step(now);
        search.failed(now, NEAR, Failure::Refused("no".to_owned()));
        assert!(matches!(search.step(now), Step::Wait { .. }));
        search.looked(now, vec![FAR]);
        assert_eq!(asked(search.step(now)), FAR);
    }

    #[test]
    fn strangers_cannot_make_the_list_of_compilers_grow() {
        let mut search = Search::new(Instant::now());
        search.found((0..100).map(|n| PeerKey([n; 32])).collect());
        assert_eq!(search.known.len(), COMPILERS);
    }
}
