//! Remembers the modules that are always refused, so that a job with one does not cost a compilation for each task.

use std::collections::{HashMap, VecDeque};

use super::error::ModuleError;
use super::limits::REFUSED_MODULES;

/// The latest refused modules, by hash.
#[derive(Default)]
pub(super) struct Refused {
    errors: HashMap<[u8; 32], ModuleError>,
    order: VecDeque<[u8; 32]>,
}

impl Refused {
    /// Why the module was refused.
    pub(super) fn get(&self, hash: &[u8; 32]) -> Option<ModuleError> {
        self.errors.get(hash).cloned()
    }

    /// Remembers `error`, if it would come again.
    pub(super) fn note(&mut self, hash: [u8; 32], error: &ModuleError) {
        if !error.is_repeatable() || self.errors.insert(hash, error.clone()).is_some() {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > REFUSED_MODULES
            && let Some(oldest) = self.order.pop_front()
        {
            self.errors.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_would_be_refused_again_is_remembered_and_not_for_ever() {
        let mut refused = Refused::default();
        refused.note([0; 32], &ModuleError::Busy);
        assert_eq!(refused.get(&[0; 32]), None);
        for n in 0..=REFUSED_MODULES {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&(n as u64).to_le_bytes());
            refused.note(hash, &ModuleError::Panicked);
            assert_eq!(refused.get(&hash), Some(ModuleError::Panicked));
        }
        assert_eq!(refused.get(&[0; 32]), None, "the oldest is forgotten");
        assert_eq!(refused.errors.len(), REFUSED_MODULES);
    }
}
