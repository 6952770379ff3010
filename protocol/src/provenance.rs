//! The authors of a stage's attempts: four bytes for each task, and each author's key once.

use std::collections::BTreeMap;

use crate::id::PeerKey;
use crate::part::TaskId;

/// The authors of the attempts at a stage's tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// In the order in which they were first set.
    authors: Vec<PeerKey>,
    places: BTreeMap<PeerKey, u32>,
    /// For each task, one more than its author's index in `authors`; 0 for none.
    of: Vec<u32>,
}

impl Provenance {
    /// A table for `tasks` tasks, without authors.
    pub fn new(tasks: u32) -> Self {
        Self { of: vec![0; tasks as usize], ..Self::default() }
    }

    /// Sets a task's author. Tasks beyond the table's size are ignored.
    pub fn set(&mut self, task: TaskId, author: PeerKey) {
        let authors = &mut self.authors;
        let place = *self.places.entry(author).or_insert_with(|| {
            authors.push(author);
            authors.len() as u32
        });
        if let Some(of) = self.of.get_mut(task.index()) {
            *of = place;
        }
    }

    /// Removes a task's author.
    pub fn clear(&mut self, task: TaskId) {
        if let Some(of) = self.of.get_mut(task.index()) {
            *of = 0;
        }
    }

    /// The author of a task's attempt.
    pub fn author(&self, task: TaskId) -> Option<PeerKey> {
        let place = self.of.get(task.index())?.checked_sub(1)?;
        self.authors.get(place as usize).copied()
    }

    /// The tasks of an author, ascending.
    pub fn tasks_of(&self, author: &PeerKey) -> impl Iterator<Item = TaskId> + '_ {
        let place = self.places.get(author).copied();
        TaskId::enumerate(&self.of).filter(move |&(_, &of)| Some(of) == place).map(|(task, _)| task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_has_the_author_that_was_set_last() {
        let (one, other) = (PeerKey([1; 32]), PeerKey([2; 32]));
        let mut provenance = Provenance::new(4);
        for (task, author) in [(0, one), (1, other), (2, one), (0, other), (3, one), (3, one), (9, one)] {
            provenance.set(TaskId(task), author);
        }
        provenance.clear(TaskId(2));
        assert_eq!(
            TaskId::below(5).map(|task| provenance.author(task)).collect::<Vec<_>>(),
            [Some(other), Some(other), None, Some(one), None]
        );
        assert_eq!(provenance.tasks_of(&other).collect::<Vec<_>>(), [0, 1].map(TaskId));
        assert_eq!(provenance.tasks_of(&PeerKey([3; 32])).count(), 0);
    }
}
