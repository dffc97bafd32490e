//! Integration tests of raptor-session against private servers (`Backend`); named after the acceptance lines.

mod a01_no_token_in_redis;
mod a02_updates;
mod a03_logout_wins;
mod a04_deadlines;
mod a05_rotation;
mod a06_cap;
mod a07_revocation;
mod a08_index_cleans_itself;
mod a09_outage;
mod a10_not_a_token;
mod acl;
mod anonymous;
mod attacks;
mod clock_jumps;
mod encryption;
mod expiry_events;
mod field_limits;
#[cfg(any(feature = "tower", feature = "tower-sessions"))]
mod http;
mod lifecycle;
mod lists;
mod logs;
mod lost_replies;
mod model;
mod riding;
mod rotated_without_end;
mod slot_migration;
mod stored_data;
mod support;
#[cfg(feature = "tower-sessions")]
mod tower_sessions_store;
#[cfg(feature = "tower")]
mod web;
#[cfg(feature = "tower")]
mod web_attacks;
mod writes_refused;
