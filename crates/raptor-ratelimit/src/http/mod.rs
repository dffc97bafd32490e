//! A tower layer that limits requests: for axum, tonic, and whatever else speaks `http`.
//!
//! | file | idea |
//! | --- | --- |
//! | `layer.rs` | the layer: asks, passes on or rejects |
//! | `caller.rs` | who calls, and what is to be checked: the answer of your extractor |
//! | `fields.rs` | the header fields of the IETF draft |
//! | `rejection.rs` | 429, 503, 500 and 400 as problem documents, or as gRPC's status |
//! | `body.rs` | the inner service's body, or ours |

mod body;
mod caller;
mod fields;
mod layer;
mod rejection;

pub use body::RateLimitBody;
pub use caller::Caller;
pub use layer::{RateLimit, RateLimitLayer};
pub use rejection::Failure;
