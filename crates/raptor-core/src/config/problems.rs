//! All that is wrong with the settings, gathered, so that one error names everything at once.
//!
//! A line is a setting's name and a text that never quotes a secret nor a piece of a URL: what
//! looks like a port or a path may be part of a password that somebody forgot to encode.

use std::borrow::Cow;
use std::fmt;

use crate::error::{Error, ErrorKind};

/// What is wrong with one value, as the rest of a sentence that begins with its name.
pub(super) type Flaw = Cow<'static, str>;

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<String>);

impl Problems {
    /// Notes that the setting `name` has a flaw.
    pub(super) fn add(&mut self, name: &str, flaw: impl fmt::Display) {
        let line = format!("{name}: {flaw}");
        if !self.0.contains(&line) {
            self.0.push(line);
        }
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one error that lists them all.
    pub(super) fn into_error(self) -> Error {
        let count = match self.0.len() {
            1 => "1 problem".to_owned(),
            n => format!("{n} problems"),
        };
        Error::new(
            ErrorKind::Config,
            format!("the configuration has {count}:\n- {}", self.0.join("\n- ")),
        )
    }
}

/// What is wrong with a text ahead of its meaning: it is empty, or padded with white space.
pub(super) fn text_flaw(text: &str) -> Option<&'static str> {
    if text.trim().is_empty() {
        Some("is set but empty; give a value or unset it")
    } else if text.trim().len() != text.len() {
        Some("begins or ends with white space; remove it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_error_lists_all_and_each_once() {
        let mut problems = Problems::default();
        problems.add("A", "is 0");
        problems.add("B", "is empty");
        problems.add("A", "is 0");
        let error = problems.into_error();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(
            error.to_string(),
            "the configuration has 2 problems:\n- A: is 0\n- B: is empty"
        );
    }
}
