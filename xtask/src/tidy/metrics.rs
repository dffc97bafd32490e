//! Metrics and keys: what the documents list is what the code has.

use super::Problem;
use super::files::SourceFile;

const TELEMETRY: &str = "docs/telemetry.md";
/// A test of raptor-core holds this one against its catalogue of key families.
const KEYS: &str = "docs/keys.md";

pub(crate) fn check(files: &[SourceFile]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for document in [TELEMETRY, KEYS] {
        if !files.iter().any(|file| file.path == document) {
            problems.push(Problem::new(document, 1, "this document is missing; write it"));
        }
    }
    let sources = files.iter().filter(|file| is_source(&file.path));
    let in_code: Vec<Mention<'_>> = sources.flat_map(metrics_in_code).collect();
    let documents = files.iter().filter(|file| file.path == TELEMETRY);
    let in_document: Vec<Mention<'_>> = documents.flat_map(metrics_in_document).collect();
    for metric in &in_code {
        if !metric.file.ends_with("/telemetry.rs") {
            let what = format!("move {} into the crate's telemetry.rs", metric.name);
            problems.push(Problem::new(metric.file, metric.line, what));
        }
        if !in_document.iter().any(|listed| listed.name == metric.name) {
            let what = format!("list {} in {TELEMETRY}", metric.name);
            problems.push(Problem::new(metric.file, metric.line, what));
        }
    }
    for (place, metric) in in_document.iter().enumerate() {
        if !in_code.iter().any(|known| known.name == metric.name) {
            let what = format!("the code has no metric {}; remove the line", metric.name);
            problems.push(Problem::new(metric.file, metric.line, what));
        }
        if in_document[..place].iter().any(|earlier| earlier.name == metric.name) {
            let what = format!("{} is listed twice", metric.name);
            problems.push(Problem::new(metric.file, metric.line, what));
        }
    }
    problems
}

struct Mention<'a> {
    name: &'a str,
    file: &'a str,
    line: usize,
}

fn is_source(path: &str) -> bool {
    path.starts_with("crates/") && path.contains("/src/") && path.ends_with(".rs")
}

/// Whole string literals that begin as our metrics do.
fn metrics_in_code(file: &SourceFile) -> Vec<Mention<'_>> {
    file.lines()
        .flat_map(|(line, text)| {
            let literals = text.split('"').skip(1).step_by(2);
            literals.filter(|literal| is_metric(literal)).map(move |name| Mention {
                name,
                file: &file.path,
                line,
            })
        })
        .collect()
}

/// Table rows whose first cell is a metric's name.
fn metrics_in_document(file: &SourceFile) -> Vec<Mention<'_>> {
    file.lines()
        .filter_map(|(line, text)| {
            let (name, _) = text.strip_prefix("| `")?.split_once('`')?;
            is_metric(name).then_some(Mention { name, file: &file.path, line })
        })
        .collect()
}

fn is_metric(text: &str) -> bool {
    let rest = text.strip_prefix("raptor_");
    rest.is_some_and(|rest| {
        !rest.is_empty() && rest.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "const A: &str = \"raptor_a_total\";\nlet x = \"raptor_ is no metric\";\n";
    const TABLE: &str = "| name | kind |\n| --- | --- |\n| `raptor_a_total` | counter |\n";

    fn found(code: (&str, &str), table: &str) -> Vec<String> {
        let files = [
            SourceFile::new(code.0, code.1),
            SourceFile::new(TELEMETRY, table),
            SourceFile::new(KEYS, "x"),
        ];
        check(&files).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn code_and_document_agree() {
        assert!(found(("crates/a/src/telemetry.rs", CODE), TABLE).is_empty());
    }

    #[test]
    fn each_rule_is_seen_when_broken() {
        let code = ("crates/a/src/telemetry.rs", CODE);
        let missing = found(code, "");
        assert_eq!(
            missing,
            [format!("crates/a/src/telemetry.rs:1: list raptor_a_total in {TELEMETRY}")]
        );
        let stale = found(("crates/a/src/telemetry.rs", ""), TABLE);
        assert!(stale[0].starts_with(&format!("{TELEMETRY}:3: the code has no")), "{stale:?}");
        let twice = found(code, &format!("{TABLE}| `raptor_a_total` | counter |\n"));
        assert!(twice[0].starts_with(&format!("{TELEMETRY}:4: raptor_a_total is listed")));
        let elsewhere = found(("crates/a/src/service.rs", CODE), TABLE);
        assert!(elsewhere[0].contains("move raptor_a_total into"), "{elsewhere:?}");
        assert_eq!(check(&[]).len(), 2, "both documents are missing");
    }
}
