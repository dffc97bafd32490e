//! The operator's CLI and dashboard: **not written yet**. It will be the binary `raptor`.
