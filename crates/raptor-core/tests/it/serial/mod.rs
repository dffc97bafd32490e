//! What measures time, or keeps the machine busy: run one test at a time.

mod cluster;
mod outage;
mod scripts;
mod sentinel;
