//! The version of the protocol. Peers of one major version form one mesh; a minor version only adds to it, by the
//! means that [`crate::codec`] names.

/// The major version. Peers of different major versions cannot communicate.
pub const MAJOR: u16 = 2;
/// The minor version: it counts additions of messages, fields and kinds of jobs. Peers do without what the other does
/// not know.
pub const MINOR: u16 = 1;
/// The first minor version whose peers can run a job with a stage of several sources. Earlier ones would read its first
/// source only and compute a wrong result, so the manifest of such a job names this version and they refuse it.
pub const SEVERAL_SOURCES: u16 = 1;
/// The protocol name that peers exchange first: two with different names do not stay connected.
pub const NAME: &str = "webmesh/2";

/// The whole version, as shown to people.
#[must_use]
pub fn full() -> String {
    of_minor(MINOR)
}

/// This major version with a given minor version, as shown to people.
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
