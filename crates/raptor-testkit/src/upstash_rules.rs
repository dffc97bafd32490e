//! What Upstash accepts and refuses, as a pure function of a request and the session it comes in.

use crate::frames::words;

/// Largest request that is accepted, framing included.
pub(crate) const LARGEST_REQUEST: usize = 10 * 1024 * 1024;

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Forwarded as it is.
    Forward,
    /// This is forwarded in its place.
    ForwardAs(Vec<u8>),
    /// Answered here, with this line.
    Answer(String),
}

/// Commands that are not available, besides some subcommands of CLIENT.
const UNAVAILABLE: [&str; 12] = [
    "SSUBSCRIBE",
    "SUNSUBSCRIBE",
    "SPUBLISH",
    "OBJECT",
    "SLOWLOG",
    "CONFIG",
    "CLUSTER",
    "DEBUG",
    "MODULE",
    "REPLICAOF",
    "SLAVEOF",
    "SHUTDOWN",
];

const NO_AUTH: &str = "-NOAUTH Authentication required.";
const WRONG_PASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.";

/// One client's session: who it is.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    token: &'a str,
    authenticated: bool,
}

impl<'a> Session<'a> {
    pub(crate) fn new(token: &'a str) -> Self {
        Self { token, authenticated: false }
    }

    /// Decides about one whole request.
    pub(crate) fn judge(&mut self, request: &[u8]) -> Verdict {
        let Some(words) = words(request) else {
            return Verdict::Answer(
                "-ERR Protocol error: expected an array of bulk strings".to_owned(),
            );
        };
        let Some(name) =
            words.first().map(|name| String::from_utf8_lossy(name).to_ascii_uppercase())
        else {
            return Verdict::Forward;
        };
        match name.as_str() {
            "AUTH" => self.auth(&words[1..]),
            "HELLO" => self.hello(&words),
            "QUIT" => Verdict::Forward,
            _ if !self.authenticated => Verdict::Answer(NO_AUTH.to_owned()),
            "SELECT" if words.get(1) != Some(&&b"0"[..]) => {
                Verdict::Answer("-ERR Only 0th database is supported! Use SELECT 0".to_owned())
            }
            "CLIENT" if is_tracking(words.get(1)) => unavailable("CLIENT TRACKING"),
            name if UNAVAILABLE.contains(&name) => unavailable(name),
            _ => Verdict::Forward,
        }
    }

    fn auth(&mut self, rest: &[&[u8]]) -> Verdict {
        let answer = match rest {
            [token] => self.admit(b"default", token),
            [user, token] => self.admit(user, token),
            _ => "-ERR wrong number of arguments for 'auth' command",
        };
        Verdict::Answer(answer.to_owned())
    }

    /// HELLO with AUTH goes on without it, as the server behind has no password.
    fn hello(&mut self, words: &[&[u8]]) -> Verdict {
        let auth = words
            .iter()
            .skip(2)
            .position(|word| word.eq_ignore_ascii_case(b"AUTH"))
            .map(|at| at + 2);
        let Some(auth) = auth else {
            let refused = || Verdict::Answer(NO_AUTH.to_owned());
            return if self.authenticated { Verdict::Forward } else { refused() };
        };
        let (Some(user), Some(token)) = (words.get(auth + 1), words.get(auth + 2)) else {
            return Verdict::Answer("-ERR Syntax error in HELLO option 'auth'".to_owned());
        };
        let answer = self.admit(user, token);
        if answer.starts_with('-') {
            return Verdict::Answer(answer.to_owned());
        }
        Verdict::ForwardAs(request(words[..auth].iter().chain(&words[auth + 3..]).copied()))
    }

    fn admit(&mut self, user: &[u8], token: &[u8]) -> &'static str {
        if user == b"default" && token == self.token.as_bytes() {
            self.authenticated = true;
            "+OK"
        } else {
            WRONG_PASS
        }
    }
}

fn is_tracking(subcommand: Option<&&[u8]>) -> bool {
    let refused: [&[u8]; 3] = [b"TRACKING", b"CACHING", b"TRACKINGINFO"];
    subcommand.is_some_and(|word| refused.iter().any(|one| word.eq_ignore_ascii_case(one)))
}

fn unavailable(name: &str) -> Verdict {
    Verdict::Answer(format!(
        "-ERR Command is not available: '{name}'. See https://upstash.com/docs/redis/overall/rediscompatibility for details"
    ))
}

fn request<'a>(words: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.clone().count()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &str) -> Vec<u8> {
        request(words.split(' ').map(str::as_bytes))
    }

    fn answer(session: &mut Session<'_>, words: &str) -> String {
        match session.judge(&line(words)) {
            Verdict::Answer(answer) => answer,
            verdict => panic!("{words}: {verdict:?}"),
        }
    }

    #[test]
    fn nothing_goes_without_the_token() {
        let mut session = Session::new("token");
        assert!(answer(&mut session, "GET k").starts_with("-NOAUTH"));
        assert!(answer(&mut session, "HELLO 3").starts_with("-NOAUTH"));
        assert!(answer(&mut session, "AUTH default wrong").starts_with("-WRONGPASS"));
        assert!(answer(&mut session, "AUTH other token").starts_with("-WRONGPASS"));
        assert!(answer(&mut session, "HELLO 3 AUTH default wrong").starts_with("-WRONGPASS"));
        assert!(answer(&mut session, "PING").starts_with("-NOAUTH"));
        assert_eq!(answer(&mut session, "AUTH token"), "+OK");
        assert_eq!(session.judge(&line("GET k")), Verdict::Forward);
        assert_eq!(session.judge(b"PING\r\n"), Verdict::Forward);
    }

    #[test]
    fn hello_goes_on_without_its_auth() {
        let mut session = Session::new("token");
        let forwarded = session.judge(&line("hello 3 auth default token SETNAME me"));
        assert_eq!(forwarded, Verdict::ForwardAs(line("hello 3 SETNAME me")));
        assert_eq!(session.judge(&line("HELLO 2")), Verdict::Forward);
    }

    #[test]
    fn what_upstash_lacks_is_refused_by_name() {
        let mut session = Session::new("t");
        let _ = session.judge(&line("AUTH t"));
        for refused in [
            "ssubscribe c",
            "OBJECT ENCODING k",
            "slowlog get",
            "CONFIG GET x",
            "client tracking on",
        ] {
            let answer = answer(&mut session, refused);
            assert!(answer.starts_with("-ERR Command is not available: '"), "{answer}");
        }
        assert!(answer(&mut session, "SELECT 1").starts_with("-ERR Only 0th"));
        for fine in ["SELECT 0", "CLIENT SETNAME me", "SUBSCRIBE c", "EVAL x 0"] {
            assert_eq!(session.judge(&line(fine)), Verdict::Forward, "{fine}");
        }
    }
}
