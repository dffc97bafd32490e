//! What a request gets that is not let in: a problem document (RFC 9457), or gRPC's status.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use raptor_core::{Error, ErrorKind};
use serde::Serialize;

use super::body::RateLimitBody;
use super::fields;
use crate::decision::{Decision, Outcome};
use crate::limit::Limit;

/// Registered by the draft of the header fields.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

#[derive(Serialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    #[serde(rename = "violated-policies", skip_serializing_if = "Vec::is_empty")]
    violated_policies: Vec<String>,
}

/// Whether the request speaks gRPC, whose clients read a status of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Http,
    Grpc,
}

/// 429, or gRPC's RESOURCE_EXHAUSTED.
pub(super) fn denied<B>(
    decision: &Decision,
    limits: &[Limit],
    speaks: Speaks,
) -> Response<RateLimitBody<B>> {
    let violated = limits.iter().zip(&decision.results);
    let violated = violated.filter(|(_, result)| !result.allowed);
    let problem = Problem {
        kind: QUOTA_EXCEEDED,
        title: match decision.outcome {
            Outcome::Never => "The request is larger than its quota",
            _ => "Request cannot be satisfied as assigned quota has been exceeded",
        },
        status: StatusCode::TOO_MANY_REQUESTS.as_u16(),
        violated_policies: violated.map(|(limit, _)| fields::name(limit)).collect(),
    };
    let mut response = respond(&problem, speaks, 8);
    if let Outcome::Denied { retry_after } = decision.outcome {
        let seconds = HeaderValue::from(fields::seconds(retry_after));
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}

/// Why a request was neither served nor denied: in the extensions of the response, for an outer layer
/// that logs. The client is not told.
#[derive(Clone, Debug)]
pub struct Failure(Arc<Error>);

impl Failure {
    /// The error.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.0
    }
}

/// Where an error comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Extract,
    Check,
}

/// 400 for a request whose caller cannot be named, 500 for limits that cannot be checked, an operator's
/// mistake, 503 when nothing could be decided now. The error itself stays inside.
pub(super) fn failed<B>(error: Error, step: Step, speaks: Speaks) -> Response<RateLimitBody<B>> {
    let (status, title, code) = match (error.kind(), step) {
        (ErrorKind::InvalidInput, Step::Extract) => {
            (StatusCode::BAD_REQUEST, "The caller of the request cannot be told", 3)
        }
        (ErrorKind::InvalidInput | ErrorKind::Config, _) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "The rate limit is configured wrongly", 13)
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, "The rate limit cannot be checked now", 14),
    };
    let status = status.as_u16();
    let problem = Problem { kind: "about:blank", title, status, violated_policies: Vec::new() };
    let mut response = respond(&problem, speaks, code);
    response.extensions_mut().insert(Failure(Arc::new(error)));
    response
}

fn respond<B>(problem: &Problem, speaks: Speaks, grpc_code: u16) -> Response<RateLimitBody<B>> {
    let text = match speaks {
        Speaks::Grpc => Vec::new(),
        // Strings and a number cannot fail.
        Speaks::Http => serde_json::to_vec(problem).unwrap_or_default(),
    };
    let mut response = Response::new(RateLimitBody::rejected(Bytes::from(text)));
    if speaks == Speaks::Grpc {
        // Trailers only: status and message among the headers of a 200.
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(grpc_code));
        headers.insert("grpc-message", HeaderValue::from_static(problem.title));
        return response;
    }
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or_default();
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
