//! Single engines, driven by hand: honest peers, liars and peers that lost their state.

mod authority;
mod confirm;
mod homes;
mod jobs;
mod lost;
mod newcomers;
mod peer;
mod relay;
mod shuffler;
mod silence;
mod sleep;
