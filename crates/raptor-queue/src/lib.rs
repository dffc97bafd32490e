//! Background jobs with priorities: **not written yet**. The crate holds its place in the workspace; nothing here works so far.
