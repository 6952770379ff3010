//! The version of the protocol. Peers of one major version form one mesh; a minor version only adds to it, by the
//! means that [`crate::codec`] names.

/// Peers of another major version do not understand each other.
pub const MAJOR: u16 = 2;
/// Counts what was added since: messages, fields, kinds of jobs. A peer does without what another does not know.
pub const MINOR: u16 = 1;
/// The minor version from which on peers can work on a job with a stage of several sources. Earlier ones would read its
/// first source only, and give another result: such a manifest names this version, so that they refuse it.
pub const SEVERAL_SOURCES: u16 = 1;
/// What peers tell each other before anything else: two of different names do not stay connected.
pub const NAME: &str = "webmesh/2";

/// The whole version, as people read it.
#[must_use]
pub fn full() -> String {
    of_minor(MINOR)
}

/// A version of this major one, as people read it.
#[must_use]
pub(crate) fn of_minor(minor: u16) -> String {
    format!("{MAJOR}.{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Topic;

    #[test]
    fn topics_and_greeting_carry_the_major_version() {
        assert_eq!(NAME, format!("webmesh/{MAJOR}"));
        assert!(Topic::all().all(|topic| topic.name().starts_with(NAME)));
    }
}
