//! What measures time, or keeps the machine busy: run one test at a time.

mod cluster;
mod load;
mod migration;
mod outage;
mod scripts;
mod sentinel;
