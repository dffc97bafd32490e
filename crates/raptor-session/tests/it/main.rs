//! Integration tests of raptor-session against a private server each; named after the acceptance lines.

mod a01_no_token_in_redis;
mod a03_logout_wins;
mod a04_deadlines;
mod a08_index_cleans_itself;
mod a10_not_a_token;
mod lifecycle;
mod stored_data;
mod support;
