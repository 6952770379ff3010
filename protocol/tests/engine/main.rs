//! Single engines, told by hand what others say: honest peers, liars and the forgetful.

mod authority;
mod homes;
mod jobs;
mod lost;
mod peer;
mod relay;
mod shuffler;
mod silence;
mod sleep;
