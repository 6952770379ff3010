//! A tab as a peer: a placeholder that builds. The node's library is split for it already: what differs between
//! a native process and a tab lies in `webmesh_node::platform` and behind `webmesh_node::driver::Host`.
