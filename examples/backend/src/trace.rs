//! Requests out of a trace file: a CSV read line by line, so that its size does not matter.
//!
//! A trace that is merged from several machines may be slightly out of order; that is taken as it
//! is, for the services bear a clock that steps back. Everything else that does not fit is an
//! error which names the file and the line.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use time::format_description::StaticFormatDescription;
use time::macros::{datetime, format_description};
use time::{OffsetDateTime, PrimitiveDateTime};

const HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";

const TIMESTAMP: StaticFormatDescription =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second][optional [.[subsecond]]]");

/// Times that every service takes.
const EARLIEST: OffsetDateTime = datetime!(1970-01-01 0:00 UTC);
const LATEST: OffsetDateTime = datetime!(2112-01-01 0:00 UTC);

/// A line as it should be has some 40 bytes; what is longer is not read to its end.
const MAX_LINE: usize = 1_024;

/// No request uses more tokens of a kind: the price of more would not fit an event.
const MAX_TOKENS: u64 = 1_000_000_000_000;

/// One request as it arrives: when, and how many tokens it will use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) at: OffsetDateTime,
    pub(crate) context: u64,
    pub(crate) generated: u64,
}

/// Why a trace cannot be replayed, or not further.
#[derive(Debug, thiserror::Error)]
pub(crate) struct TraceError {
    path: PathBuf,
    line: Option<u64>,
    flaw: String,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.flaw)
    }
}

/// An open trace: an iterator over its requests that ends after the first error.
#[derive(Debug)]
pub(crate) struct Trace {
    path: PathBuf,
    reader: BufReader<File>,
    line: u64,
    bytes_read: u64,
    bytes: u64,
    buffer: Vec<u8>,
    broken: bool,
}

impl Trace {
    /// Opens the file and reads its header.
    pub(crate) fn open(path: &Path) -> Result<Self, TraceError> {
        let failed = |error: std::io::Error| TraceError {
            path: path.to_owned(),
            line: None,
            flaw: format!("cannot be read: {error}"),
        };
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let mut trace = Self {
            path: path.to_owned(),
            reader: BufReader::with_capacity(64 * 1024, file),
            line: 0,
            bytes_read: 0,
            bytes,
            buffer: Vec::with_capacity(64),
            broken: false,
        };
        trace.next_line()?;
        match std::str::from_utf8(&trace.buffer) {
            Ok(HEADER) => Ok(trace),
            _ => {
                // An empty file has no line yet; the header is missing from its first.
                trace.line = 1;
                let found = shown(&trace.buffer);
                Err(trace.error(format!("expected the header `{HEADER}`, found {found}")))
            }
        }
    }

    /// The file's size, and how much of it was read.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Reads a line into the buffer, without its end; `false` at the end of the file.
    fn next_line(&mut self) -> Result<bool, TraceError> {
        self.buffer.clear();
        let read = (&mut self.reader).take(MAX_LINE as u64).read_until(b'\n', &mut self.buffer);
        let read = read.map_err(|error| self.error(format!("cannot be read: {error}")))?;
        self.bytes_read += read as u64;
        if read == 0 {
            return Ok(false);
        }
        self.line += 1;
        if self.buffer.pop_if(|byte| *byte == b'\n').is_some() {
            self.buffer.pop_if(|byte| *byte == b'\r');
        } else if read == MAX_LINE {
            return Err(self.error(format!("is longer than {MAX_LINE} bytes")));
        }
        Ok(true)
    }

    fn next_arrival(&mut self) -> Result<Option<Arrival>, TraceError> {
        if !self.next_line()? {
            return Ok(None);
        }
        parse(&self.buffer).map(Some).map_err(|flaw| self.error(flaw))
    }

    fn error(&self, flaw: String) -> TraceError {
        TraceError { path: self.path.clone(), line: (self.line > 0).then_some(self.line), flaw }
    }
}

impl Iterator for Trace {
    type Item = Result<Arrival, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        let next = self.next_arrival().transpose();
        self.broken = matches!(next, Some(Err(_)));
        next
    }
}

fn parse(line: &[u8]) -> Result<Arrival, String> {
    let text = std::str::from_utf8(line).map_err(|_| format!("is not text: {}", shown(line)))?;
    let fields: Vec<&str> = text.split(',').collect();
    let [timestamp, context, generated] = fields[..] else {
        let (count, line) = (fields.len(), shown(line));
        return Err(format!("has {count} of the 3 fields `{HEADER}`: {line}"));
    };
    let at = PrimitiveDateTime::parse(timestamp, TIMESTAMP)
        .map_err(|_| {
            format!(
                "TIMESTAMP is {}, expected for example 2023-11-16 18:15:46.6805900",
                shown(timestamp.as_bytes())
            )
        })?
        .assume_utc();
    if !(EARLIEST..LATEST).contains(&at) {
        return Err(format!(
            "TIMESTAMP is {}, outside the years 1970 to 2111",
            shown(timestamp.as_bytes())
        ));
    }
    let tokens = |name: &str, text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(tokens) if digits && tokens <= MAX_TOKENS => Ok(tokens),
            _ => Err(format!(
                "{name} is {}, expected a whole number from 0 to {MAX_TOKENS}",
                shown(text.as_bytes())
            )),
        }
    };
    Ok(Arrival {
        at,
        context: tokens("ContextTokens", context)?,
        generated: tokens("GeneratedTokens", generated)?,
    })
}

/// What stands there, in quotes, printable and not too long.
fn shown(bytes: &[u8]) -> String {
    const LIMIT: usize = 60;
    let cut = &bytes[..bytes.len().min(LIMIT)];
    let more = if cut.len() < bytes.len() { "…" } else { "" };
    format!("\"{}{more}\"", cut.escape_ascii())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(content: &[u8]) -> Result<Vec<Arrival>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let trace = Trace::open(file.path()).map_err(|error| error.to_string())?;
        trace.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    fn with_header(lines: &str) -> Vec<u8> {
        format!("{HEADER}\n{lines}").into_bytes()
    }

    #[test]
    fn both_line_ends_are_read_and_the_last_may_be_missing() {
        let expected = [
            Arrival {
                at: datetime!(2023-11-16 18:15:46.680_590_1 UTC),
                context: 374,
                generated: 44,
            },
            Arrival { at: datetime!(2023-11-16 18:15:47 UTC), context: 0, generated: 0 },
        ];
        let lines = ["2023-11-16 18:15:46.6805901,374,44", "2023-11-16 18:15:47,0,0"];
        for end in ["\n", "\r\n"] {
            let all = [HEADER, lines[0], lines[1]].join(end);
            assert_eq!(read(all.as_bytes()).unwrap(), expected);
            assert_eq!(read(format!("{all}{end}").as_bytes()).unwrap(), expected);
        }
        assert_eq!(read(HEADER.as_bytes()).unwrap(), []);
    }

    #[test]
    fn a_step_back_in_time_is_taken_as_it_is() {
        let lines = "2023-11-16 18:15:47,1,1\n2023-11-16 18:15:46,1,1\n";
        assert_eq!(read(&with_header(lines)).unwrap().len(), 2);
    }

    #[test]
    fn a_wrong_header_is_an_error_of_line_1() {
        for header in ["", "a,b,c\n", "TIMESTAMP,ContextTokens\n", "\0\0\0", &"x".repeat(5_000)] {
            let error = read(header.as_bytes()).unwrap_err();
            assert!(error.contains(", line 1: "), "{error}");
            assert!(error.len() < 400, "{error}");
        }
    }

    #[test]
    fn a_bad_line_is_named_with_what_is_wrong() {
        let at = "2023-11-16 18:15:46.6805900";
        for (line, flaw) in [
            (format!("{at},1"), "has 2 of the 3 fields"),
            (format!("{at},1,2,3"), "has 4 of the 3 fields"),
            (String::new(), "has 1 of the 3 fields"),
            (format!("{at},one,2"), "ContextTokens is \"one\""),
            (format!("{at},1,-2"), "GeneratedTokens is \"-2\""),
            (format!("{at},+1,2"), "ContextTokens is \"+1\""),
            (format!("{at},1, 2"), "GeneratedTokens is \" 2\""),
            (format!("{at},1,1000000000001"), "GeneratedTokens is"),
            (format!("{at},99999999999999999999,1"), "ContextTokens is"),
            (format!("{at},1\0,2"), "ContextTokens is \"1\\x00\""),
            ("yesterday,1,2".to_owned(), "TIMESTAMP is \"yesterday\""),
            ("2023-02-30 00:00:00,1,2".to_owned(), "TIMESTAMP is"),
            ("1969-12-31 23:59:59,1,2".to_owned(), "outside the years"),
            ("2112-01-01 00:00:00,1,2".to_owned(), "outside the years"),
            ("x".repeat(1_000_000), "is longer than 1024 bytes"),
        ] {
            let error = read(&with_header(&format!("{at},1,2\n{line}\n{at},1,2\n"))).unwrap_err();
            assert!(error.contains(", line 3: ") && error.contains(flaw), "{error}");
            assert!(error.len() < 400, "{error}");
        }
        let error = read(&[&with_header("")[..], b"\xFF,1,2\n"].concat()).unwrap_err();
        assert!(error.contains(", line 2: is not text"), "{error}");
    }

    #[test]
    fn what_is_no_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("nowhere.csv"), folder.path().to_owned()] {
            let error = Trace::open(&path).unwrap_err().to_string();
            assert!(error.starts_with(path.to_str().unwrap()), "{error}");
            assert!(error.contains("cannot be read"), "{error}");
        }
    }
}
