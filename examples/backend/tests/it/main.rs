//! The demo as its users run it: the binary, against private servers.
#![allow(clippy::unwrap_used, missing_docs)]

mod bad_input;
mod books;
mod decisions;
mod faults;
mod rig;
