//! Least privilege under test: a user with exactly the rule that a document gives, or with one permission less.

use std::fmt;

/// The rule of the backend `acl`, in the words of ACL SETUSER: see [`AclRule::parse`].
pub const ACL_RULE_VARIABLE: &str = "RAPTOR_TEST_ACL_RULE";

/// The user that a rule is tried with.
const USER: &str = "service";
const PASSWORD: &str = "of-the-test";

/// What a user of the server may do: keys, channels and commands, without name and password.
///
/// ```
/// # use raptor_testkit::AclRule;
/// let rule = AclRule::parse("ACL SETUSER app reset on >secret ~app:* resetchannels -@all +get +set");
/// assert_eq!(rule.to_string(), "~app:* resetchannels -@all +get +set");
/// let less: Vec<String> = rule.each_without().map(|(gone, _)| gone).collect();
/// assert_eq!(less, ["~app:*", "+get", "+set"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclRule {
    words: Vec<String>,
}

impl AclRule {
    /// Reads a rule in the words of ACL SETUSER; a whole such command may stand there. Leaves out who the user is:
    /// name, `reset`, `on` and passwords.
    pub fn parse(text: &str) -> Self {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        if words.len() > 2 && words[0] == "ACL" && words[1] == "SETUSER" {
            words.drain(..3);
        }
        words.retain(|word| !matches!(*word, "reset" | "on") && !word.starts_with('>'));
        Self { words: words.into_iter().map(str::to_owned).collect() }
    }

    /// The rule that a Markdown document gives for `service`: the first line of the first fenced block behind
    /// `<!-- rule: SERVICE -->`. None when there is none.
    pub fn documented(markdown: &str, service: &str) -> Option<Self> {
        let (_, behind) = markdown.split_once(&format!("<!-- rule: {service} -->"))?;
        let mut lines = behind.lines().map(str::trim).filter(|line| !line.is_empty());
        if !lines.next()?.starts_with("```") {
            return None;
        }
        Some(Self::parse(lines.next().filter(|line| !line.starts_with("```"))?))
    }

    /// For each permission (key pattern, channel pattern, command): that, and the rule without it.
    pub fn each_without(&self) -> impl Iterator<Item = (String, Self)> {
        let grants = |word: &&String| word.starts_with(['~', '%', '&', '+']);
        self.words.iter().filter(grants).map(|gone| {
            let words = self.words.iter().filter(|word| *word != gone).cloned().collect();
            (gone.clone(), Self { words })
        })
    }

    /// This rule and more, in the same words.
    #[must_use]
    pub fn with(mut self, more: &str) -> Self {
        self.words.extend(Self::parse(more).words);
        self
    }

    /// The command that gives the user of [`AclRule::userinfo`] this rule and no other. Connections keep their user,
    /// so it holds for their next command.
    pub fn command(&self) -> redis::Cmd {
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg(USER).arg("reset").arg("on").arg(format!(">{PASSWORD}"));
        for word in &self.words {
            command.arg(word);
        }
        command
    }

    /// `user:password`, as a URL has it.
    pub fn userinfo() -> String {
        format!("{USER}:{PASSWORD}")
    }
}

impl fmt::Display for AclRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Title\n<!-- rule: one -->\n\n```text\nACL SETUSER one reset on >P ~a:* +get\n```\n\
                        <!-- rule: two -->\nprose\n<!-- rule: three -->\n```\n```\n";

    #[test]
    fn a_documents_rule_is_found_by_its_marker() {
        let rule = AclRule::documented(TEXT, "one").map(|rule| rule.to_string());
        assert_eq!(rule.as_deref(), Some("~a:* +get"));
        for none in ["two", "three", "four", "on"] {
            assert_eq!(AclRule::documented(TEXT, none).map(|rule| rule.words), None, "{none}");
        }
    }
}
