//! Integration tests of raptor-ops against a private server each; named after the acceptance lines.

mod a08_charged_once;
mod a11_trace;
mod exactness;
mod hostile_input;
mod reports;
mod support;
mod window;
mod wrong_type;
