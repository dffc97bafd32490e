//! What depends on real time, one at a time.

mod denied;
mod leases;
mod outage;
