//! Nothing but the benches: see `benches/`.
