//! What was used in a period: totals in constant time, and pages of names that never overlap.

use bytes::Bytes;
use raptor_core::{Error, ErrorKind, Reply, Result};

use super::event::Counts;
use super::money::Cost;
use super::period::Period;

/// The most names of one page.
pub const MAX_PAGE: usize = 1_000;

/// The names of a dimension on the first page that a report brings along.
pub(super) const REPORT_PAGE: usize = 100;

/// What usage can be broken down by. (Kinds are the fields of [`Counts`].)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dimension {
    /// By model.
    Model,
    /// By agent.
    Agent,
    /// By user.
    User,
}

impl Dimension {
    /// In the order of the scripts.
    pub(super) const ALL: [Self; 3] = [Self::Model, Self::Agent, Self::User];

    /// Its name in keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Agent => "agent",
            Self::User => "user",
        }
    }
}

/// Usage added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTotals {
    /// How much, by kind.
    pub counts: Counts,
    /// What it cost, exactly.
    pub cost: Cost,
}

/// One name and what it used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The model, agent or user; `None` for what was recorded without one.
    pub name: Option<String>,
    /// What it used.
    pub usage: UsageTotals,
}

/// Where the next page starts: after the last name of this one.
///
/// A walk sees each name once, in the order of its bytes, even while events are recorded; a name
/// that first appears meanwhile is seen if it sorts after the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    after: String,
}

impl Cursor {
    /// After this name; [`Cursor::as_str`] gives it back. So a cursor can travel in a URL.
    pub fn after(name: impl Into<String>) -> Self {
        Self { after: name.into() }
    }

    /// The name that the page starts after; empty is what was recorded without a name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.after
    }

    /// As `ZRANGEBYLEX` wants a lower bound.
    pub(super) fn lower_bound(cursor: Option<&Self>) -> String {
        cursor.map_or_else(|| "-".to_owned(), |cursor| format!("({}", cursor.after))
    }
}

/// Some names of one dimension, in the order of their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The names and what they used.
    pub lines: Vec<Line>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<Cursor>,
}

/// The usage of one workspace in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageReport {
    /// The period.
    pub period: Period,
    /// Everything added up; zero for a period without events.
    pub totals: UsageTotals,
    /// The first 100 models.
    pub by_model: Page,
    /// The first 100 agents.
    pub by_agent: Page,
    /// The first 100 users; [`UsageService::breakdown`](super::UsageService::breakdown) pages on.
    pub by_user: Page,
}

/// Reads `{"ok", totals, page, …}` of report.lua.
pub(super) fn decode(reply: Vec<Reply>) -> Result<(UsageTotals, Vec<Page>)> {
    let mut items = reply.into_iter();
    let mut next = || items.next().unwrap_or(Reply::Nil);
    match next().decode::<String>()?.as_str() {
        "ok" => {}
        "layout" => return Err(newer_layout()),
        "corrupt" => return Err(corrupt()),
        _ => return Err(Error::new(ErrorKind::Protocol, "unknown status in a usage report")),
    }
    let totals = totals(next().decode::<Vec<Option<Bytes>>>()?)?;
    let pages =
        items.map(|reply| page(reply.decode::<Vec<Option<Bytes>>>()?)).collect::<Result<_>>()?;
    Ok((totals, pages))
}

pub(super) fn newer_layout() -> Error {
    Error::codec("the usage of this period is stored in a newer layout: update this process")
}

pub(super) fn corrupt() -> Error {
    Error::codec(
        "what is stored as usage of this period is no usage: another program wrote the key",
    )
}

fn page(items: Vec<Option<Bytes>>) -> Result<Page> {
    let mut items = items.into_iter();
    let more = items.next().flatten().is_some_and(|word| word == "more");
    let mut lines = Vec::with_capacity(items.len() / 7);
    while let Some(name) = items.next() {
        let name = String::from_utf8(name.unwrap_or_default().into()).map_err(|_| corrupt())?;
        let usage = totals(items.by_ref().take(6).collect())?;
        lines.push(Line { name: (!name.is_empty()).then_some(name), usage });
    }
    let next = lines
        .last()
        .filter(|_| more)
        .map(|line| Cursor { after: line.name.clone().unwrap_or_default() });
    Ok(Page { lines, next })
}

fn totals(fields: Vec<Option<Bytes>>) -> Result<UsageTotals> {
    let mut numbers = [0_u64; 6];
    if fields.len() != numbers.len() {
        return Err(corrupt());
    }
    for (number, field) in numbers.iter_mut().zip(fields) {
        if let Some(text) = field {
            let text = std::str::from_utf8(&text).map_err(|_| corrupt())?;
            *number = text.parse().map_err(|_| corrupt())?;
        }
    }
    let [input, output, cached, requests, micros, pico] = numbers;
    let pico = u32::try_from(pico).map_err(|_| corrupt())?;
    Ok(UsageTotals {
        counts: Counts { input, output, cached, requests },
        cost: Cost::from_parts(micros, pico),
    })
}
