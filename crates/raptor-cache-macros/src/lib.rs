//! The `#[cached]` attribute: **not written yet**. It will be a proc-macro crate once `raptor-cache` exists.
