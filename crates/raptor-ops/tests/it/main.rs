//! Integration tests of raptor-ops against private servers (`Backend`); named after the acceptance lines.

mod a08_charged_once;
mod a11_trace;
mod acl;
mod exactness;
mod hostile_input;
mod layouts;
mod lost_replies;
mod reports;
mod riding;
mod support;
mod window;
mod wrong_type;
