//! Configuration that is wrong: each problem named, all of them at once, and no secret shown.

use proptest::prelude::*;
use raptor_core::config::{Driver, RedisConfig};

use crate::config::{SECRET, bad, file, from, good, login, shown};

/// Settings by variable, and what the error must say.
type Contradiction<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
#[test]
fn each_bad_value_is_named_with_what_is_wrong() {
    // variable, value, what the message must say beside the variable's name
    let rows: &[(&str, &str, &str)] = &[
        ("REDIS_URL", "", "empty"),
        ("REDIS_URL", "  ", "empty"),
        ("REDIS_URL", " redis://h", "white space"),
        ("REDIS_URL", "redis://h\n", "white space"),
        ("REDIS_URL", "redis://:a b@h", "white space"),
        ("REDIS_URL", "localhost:6379", "no scheme"),
        ("REDIS_URL", "redis:h", "no scheme"),
        ("REDIS_URL", "postgres://h", "unknown scheme"),
        ("REDIS_URL", "http://h", "http://"),
        ("UPSTASH_REDIS_REST_URL", "HTTP://h", "http://"),
        ("REDIS_URL", "https://h", "needs a token; set UPSTASH_REDIS_TOKEN"),
        ("UPSTASH_REDIS_URL", "https://h", "needs a token; set UPSTASH_REDIS_TOKEN"),
        ("UPSTASH_REDIS_REST_URL", "https://h", "needs a token; set UPSTASH_REDIS_REST_TOKEN"),
        ("REDIS_URL", "https://u:hunter2hunter2@h", "no user or password"),
        ("REDIS_URL", "https://h/path", "path"),
        ("REDIS_URL", "https://h:8443", "port"),
        ("REDIS_URL", "https://", "no host"),
        ("REDIS_URL", "redis://", "no host"),
        ("REDIS_URL", "redis://:6379", "no host"),
        ("REDIS_URL", "redis://:hunter2hunter2@", "no host"),
        ("REDIS_URL", "redis:///1", "no host"),
        ("REDIS_URL", "redis://h:99999", "port"),
        ("REDIS_URL", "redis://h:0", "port"),
        ("REDIS_URL", "redis://h:-1", "port"),
        ("REDIS_URL", "redis://h:abc", "port"),
        ("REDIS_URL", "redis://h:", "port"),
        ("REDIS_URL", "redis://::1", "IPv6"),
        ("REDIS_URL", "redis://[::1", "`]`"),
        ("REDIS_URL", "redis://[nope]:1", "IPv6"),
        ("REDIS_URL", "redis://h_ö", "host name"),
        ("REDIS_URL", "redis://h1,h2", "several hosts"),
        ("REDIS_URL", "redis://hunter2hunter2@h", "write redis://:PASSWORD@HOST"),
        ("REDIS_URL", "redis://hunter2hunter2:@h", "empty password"),
        ("REDIS_URL", "redis://@h", "no password"),
        ("REDIS_URL", "redis://:hunter2hunter2%@h", "%25"),
        ("REDIS_URL", "redis://:hunter2hunter2%FF@h", "UTF-8"),
        ("REDIS_URL", "redis://:x/hunter2hunter2@h", "percent-encode"),
        ("REDIS_URL", "redis://:x?hunter2hunter2@h", "percent-encode"),
        ("REDIS_URL", "redis://:x#hunter2hunter2@h", "percent-encode"),
        ("REDIS_URL", "redis://h#hunter2hunter2", "%23"),
        ("REDIS_URL", "redis://h/256", "database"),
        ("REDIS_URL", "redis://h/-1", "database"),
        ("REDIS_URL", "redis://h/+1", "database"),
        ("REDIS_URL", "redis://h/abc", "database"),
        ("REDIS_URL", "redis://h//1", "database"),
        ("REDIS_URL", "redis://h/1/", "database"),
        ("REDIS_URL", "redis://h?protocol=4", "protocol"),
        ("REDIS_URL", "redis://h?protocol=2&protocol=3", "twice"),
        ("REDIS_URL", "redis://h?protocol=2&timeout=5", "unknown parameter (number 2)"),
        ("REDIS_URL", "redis://h?hunter2hunter2", "unknown parameter (number 1)"),
        ("REDIS_URL", "redis://h?db=1", "unknown parameter"),
        ("REDIS_URL", "redis-cluster://h/1", "database 0"),
        ("REDIS_URL", "redis-cluster://h1,", "no host"),
        ("REDIS_URL", "redis-cluster://h1?node=", "no host"),
        ("REDIS_URL", "redis-cluster://h1,h2:99999", "port"),
        ("REDIS_URL", "redis-sentinel://h", "sentinelServiceName"),
        ("REDIS_URL", "redis-sentinel://h?sentinelServiceName=", "sentinelServiceName"),
        (
            "REDIS_URL",
            "redis-sentinel://h?sentinelServiceName=m&sentinelUsername=u",
            "sentinelPassword",
        ),
        ("REDIS_URL", "redis-sentinel://?sentinelServiceName=m", "no host"),
        ("REDIS_URL", "unix://", "unix:///"),
        ("REDIS_URL", "unix:///", "unix:///"),
        ("REDIS_URL", "unix://run/redis.sock", "unix:///"),
        ("REDIS_URL", "unix:///s?db=x", "database"),
        ("REDIS_KEY_PREFIX", "", "empty"),
        ("REDIS_KEY_PREFIX", "app{1}:", "brace"),
        ("REDIS_KEY_PREFIX", "my app:", "white space"),
        ("REDIS_KEY_PREFIX", " app:", "white space"),
        ("REDIS_KEY_PREFIX", "app*", "glob"),
        ("REDIS_KEY_PREFIX", "app\u{7}", "control"),
        ("REDIS_KEY_PREFIX", "äpp:", "not allowed"),
        ("REDIS_DEFAULT_TTL", "0", "is 0, must be 1 to 315360000 (seconds)"),
        ("REDIS_DEFAULT_TTL", "-1", "is -1,"),
        ("REDIS_DEFAULT_TTL", "abc", "not a whole number"),
        ("REDIS_DEFAULT_TTL", "", "empty"),
        ("REDIS_DEFAULT_TTL", "3600 ", "white space"),
        ("REDIS_DEFAULT_TTL", "1.5", "not a whole number"),
        ("REDIS_DEFAULT_TTL", "315360001", "is 315360001,"),
        ("REDIS_DEFAULT_TTL", "99999999999999999999999999", "out of range"),
        ("REDIS_MAX_CONNECTIONS", "0", "is 0, must be 1 to 1000 (connections)"),
        ("REDIS_MAX_CONNECTIONS", "1001", "is 1001,"),
        ("REDIS_MAX_CONNECTIONS", "hunter2hunter2", "not a whole number"),
        ("REDIS_COMMAND_TIMEOUT_MS", "0", "is 0, must be 1 to 600000 (milliseconds)"),
        ("REDIS_COMMAND_TIMEOUT_MS", "2s", "not a whole number"),
        ("REDIS_CONNECT_TIMEOUT_MS", "-5", "is -5,"),
        ("REDIS_DEBUG", "", "empty"),
        ("REDIS_DEBUG", "1 ", "white space"),
        ("REDIS_DEBUG", "hunter2hunter2", "must be 1 or 0"),
        ("REDIS_DEBUG", "TRUE", "must be 1 or 0"),
        ("RAPTOR_REDIS_DRIVER", "", "empty"),
        ("RAPTOR_REDIS_DRIVER", "fred ", "white space"),
        ("RAPTOR_REDIS_DRIVER", "Fred", "neither redis nor fred"),
        ("REDIS_CA_FILE", "", "empty"),
        ("REDIS_CA_FILE", "/nonexistent/ca.pem", "cannot be read"),
        ("REDIS_CA_FILE", "/", "not a file"),
        ("UPSTASH_REDIS_TOKEN", SECRET, "no URL uses it"),
        ("UPSTASH_REDIS_REST_TOKEN", SECRET, "no URL uses it"),
    ];
    for &(name, value, wrong) in rows {
        let mut settings = vec![(name, value)];
        if !name.ends_with("_URL") {
            settings.push(("REDIS_URL", "rediss://h"));
        }
        let error = bad(&settings).to_string();
        let lines: Vec<&str> = error.lines().skip(1).collect();
        let named = |line: &&str| line.starts_with(&format!("- {name}: ")) && line.contains(wrong);
        assert!(lines.iter().any(named), "{name}={value:?} must say {wrong:?}: {error}");
        assert!(lines.iter().all(|line| line.starts_with(&format!("- {name}: "))), "{error}");
    }
}

#[test]
fn settings_that_contradict_each_other_name_both_variables() {
    let pw = "rediss://:hunter2hunter2@h";
    let rows: &[Contradiction<'_>] = &[
        (
            &[("UPSTASH_REDIS_URL", "redis://a"), ("REDIS_URL", "redis://b")],
            &["UPSTASH_REDIS_URL", "REDIS_URL"],
        ),
        (
            &[("UPSTASH_REDIS_URL", "redis://a"), ("REDIS_URL", "rediss://a")],
            &["UPSTASH_REDIS_URL", "REDIS_URL"],
        ),
        (
            &[("UPSTASH_REDIS_URL", "redis://a"), ("REDIS_URL", "redis://a/1")],
            &["UPSTASH_REDIS_URL", "REDIS_URL"],
        ),
        (
            &[("UPSTASH_REDIS_URL", "rediss://h"), ("REDIS_URL", pw)],
            &["UPSTASH_REDIS_URL", "REDIS_URL"],
        ),
        (
            &[
                ("UPSTASH_REDIS_REST_URL", "https://a"),
                ("UPSTASH_REDIS_REST_TOKEN", SECRET),
                ("REDIS_URL", pw),
            ],
            &["UPSTASH_REDIS_REST_URL", "REDIS_URL"],
        ),
        (
            &[("UPSTASH_REDIS_REST_URL", "https://a"), ("REDIS_URL", pw)],
            &["UPSTASH_REDIS_REST_URL", "REDIS_URL", "needs a token"],
        ),
        (
            &[("UPSTASH_REDIS_URL", pw), ("UPSTASH_REDIS_TOKEN", "other-token")],
            &["UPSTASH_REDIS_URL", "UPSTASH_REDIS_TOKEN"],
        ),
        (
            &[
                ("UPSTASH_REDIS_URL", "https://h"),
                ("UPSTASH_REDIS_TOKEN", SECRET),
                ("UPSTASH_REDIS_REST_TOKEN", "other-token"),
            ],
            &["UPSTASH_REDIS_TOKEN", "UPSTASH_REDIS_REST_TOKEN"],
        ),
        // A token goes to no server that is not known to be its own.
        (
            &[("REDIS_URL", "redis://h"), ("UPSTASH_REDIS_TOKEN", SECRET)],
            &["UPSTASH_REDIS_TOKEN", "no URL uses it"],
        ),
        (
            &[("UPSTASH_REDIS_TOKEN", SECRET)],
            &["UPSTASH_REDIS_TOKEN", "no URL uses it", "REDIS_URL: none is set"],
        ),
        (&[], &["UPSTASH_REDIS_URL", "UPSTASH_REDIS_REST_URL", "REDIS_URL"]),
        (&[("REDIS_URL", "redis://h"), ("REDIS_CA_FILE", file!())], &["REDIS_CA_FILE", "no TLS"]),
    ];
    for (settings, named) in rows {
        let error = bad(settings).to_string();
        assert!(!error.contains("other-token"), "{error}");
        for text in *named {
            assert!(error.contains(text), "{text}: {error}");
        }
    }
}

#[test]
fn all_problems_come_in_one_error() {
    let error = bad(&[
        ("UPSTASH_REDIS_URL", "redis://:hunter2hunter2@:99999/x?y=1"),
        ("UPSTASH_REDIS_REST_URL", "http://h"),
        ("REDIS_URL", "hunter2hunter2"),
        ("UPSTASH_REDIS_TOKEN", " hunter2hunter2"),
        ("UPSTASH_REDIS_REST_TOKEN", "hunter2hunter2"),
        ("REDIS_KEY_PREFIX", "a {b}"),
        ("REDIS_DEFAULT_TTL", "0"),
        ("REDIS_MAX_CONNECTIONS", "-1"),
        ("REDIS_COMMAND_TIMEOUT_MS", "abc"),
        ("REDIS_CONNECT_TIMEOUT_MS", "600001"),
        ("REDIS_DEBUG", "2"),
        ("RAPTOR_REDIS_DRIVER", "hunter2hunter2"),
        ("REDIS_CA_FILE", "/nonexistent/hunter2hunter2.pem"),
    ])
    .to_string();
    let lines: Vec<&str> = error.lines().skip(1).collect();
    for text in [
        "- UPSTASH_REDIS_URL: has no host",
        "- UPSTASH_REDIS_URL: has a database",
        "- UPSTASH_REDIS_URL: has an unknown parameter",
        "- UPSTASH_REDIS_REST_URL: is an http:// URL",
        "- REDIS_URL: has no scheme",
        "- UPSTASH_REDIS_TOKEN: begins or ends with white space",
        "- UPSTASH_REDIS_REST_TOKEN: differs from UPSTASH_REDIS_TOKEN",
        "- REDIS_KEY_PREFIX: holds white space",
        "- REDIS_DEFAULT_TTL: is 0",
        "- REDIS_MAX_CONNECTIONS: is -1",
        "- REDIS_COMMAND_TIMEOUT_MS: is not a whole number",
        "- REDIS_CONNECT_TIMEOUT_MS: is 600001",
        "- REDIS_DEBUG: must be 1 or 0",
        "- RAPTOR_REDIS_DRIVER: is neither redis nor fred",
        "- REDIS_CA_FILE: the file cannot be read",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(text)), "{text}: {error}");
    }
    assert_eq!(lines.len(), 15, "{error}");
    assert!(error.starts_with("the configuration has 15 problems:"), "{error}");
}

#[test]
fn a_driver_that_is_not_compiled_in_names_its_feature() {
    for driver in [Driver::Fred, Driver::Redis].into_iter().filter(|driver| !driver.is_compiled()) {
        let feature = driver.feature();
        let flaw = format!("{driver} is not compiled in; enable raptor-core's feature {feature}");
        let error = bad(&[("RAPTOR_REDIS_DRIVER", &driver.to_string()), ("REDIS_URL", "x")]);
        assert!(error.to_string().contains("2 problems"), "with the others: {error}");
        assert!(error.to_string().contains(&format!("- RAPTOR_REDIS_DRIVER: {flaw}")), "{error}");
        let error = RedisConfig::builder().url("redis://h").driver(driver).build();
        let error = error.expect_err("not there").to_string();
        assert!(error.contains(&format!("- driver: {flaw}")), "{error}");
    }
}

#[test]
fn the_ca_file_must_hold_certificates() {
    let ca =
        file("ca.pem", "# ours\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    let config = RedisConfig::builder().url("rediss://h").ca_file(&ca).build().expect("a CA file");
    assert_eq!(config.tls().and_then(|tls| tls.ca_file()), Some(ca.as_path()));
    let key = file("key.pem", "-----BEGIN PRIVATE KEY-----\n");
    let error = RedisConfig::builder().url("rediss://h").ca_file(&key).build().expect_err("a key");
    assert!(error.to_string().contains("ca_file: the file holds no PEM certificate"), "{error}");
}

/// As much encoded as a careful user would, or every byte.
fn encoded(password: &str, all: bool) -> String {
    password
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' if !all => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn password() -> impl Strategy<Value = String> {
    // A first part that no message of ours holds, then anything.
    ("[QXZ][0-9][QXZ][0-9]", "\\PC{2,20}").prop_map(|(head, tail)| format!("{head}{tail}"))
}

/// Whether a text holds the password, or the part of it that no honest text would.
fn leaks(text: &str, password: &str) -> bool {
    let head: String = password.chars().take(4).collect();
    text.contains(password) || text.contains(&head) || text.contains(&encoded(&head, true))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_good_config_shows_its_password(password in password(), all in any::<bool>()) {
        let pw = encoded(&password, all);
        for url in [
            format!("redis://:{pw}@h"),
            format!("rediss://default:{pw}@h:1/2?protocol=2"),
            format!("redis-cluster://al:{pw}@h1:1,h2:2?node=h3"),
            format!("redis-sentinel://:{pw}@s?sentinelServiceName=m&sentinelUsername=u&sentinelPassword={pw}"),
            format!("unix://:{pw}@/run/r.sock"),
        ] {
            let config = RedisConfig::from_url(&url).unwrap_or_else(|error| panic!("{url}: {error}"));
            prop_assert_eq!(login(&config).1, Some(&password[..]));
            let text = format!("{config} {config:?} {config:#?}");
            prop_assert!(!leaks(&text, &password), "{}", text);
        }
        if password.trim() == password {
            let config = good(&[("UPSTASH_REDIS_URL", "https://h"), ("UPSTASH_REDIS_TOKEN", &password)]);
            prop_assert_eq!(login(&config).1, Some(&password[..]));
            let text = format!("{config} {config:?}");
            prop_assert!(!leaks(&text, &password), "{}", text);
        }
    }

    #[test]
    fn no_error_shows_a_password(password in password(), how in 0..3) {
        // Not encoded at all, its pieces land in host, port, path or parameters. But for a `:`,
        // ahead of which a user name may rightly stand.
        let raw = how == 2;
        let password = if raw { password.replace(':', ";") } else { password };
        let pw = if raw { password.clone() } else { encoded(&password, how == 1) };
        for url in [
            format!("redis://{pw}@h"),
            format!("redis://{pw}:@h"),
            format!("redis://:{pw}@"),
            format!("redis://:{pw}@h:99999/999?x=1"),
            format!("redis://:{pw}@h,h2"),
            format!("redis://h:{pw}"),
            format!("redis://h/{pw}"),
            format!("redis://h?{pw}"),
            format!("redis://h?{pw}=1&protocol={pw}"),
            format!("redis://h#{pw}"),
            format!("redis://u:/{pw}@h"),
            format!("redis://u:?{pw}@h"),
            format!("redis://u:#{pw}@h"),
            format!("redis://[{pw}]"),
            format!("http://default:{pw}@h"),
            format!("https://default:{pw}@h"),
            format!("mysql://default:{pw}@h"),
            format!("{pw}://h"),
            format!("default:{pw}@h:6379"),
            pw.clone(),
            format!(" redis://:{pw}@h"),
            format!("redis-cluster://:{pw}@h/1"),
            format!("redis-cluster://h?node={pw}:x"),
            format!("redis-sentinel://:{pw}@s?sentinelPassword={pw}"),
            format!("unix://{pw}:x@/s?db={pw}"),
        ] {
            for result in [
                RedisConfig::from_url(&url),
                from(&[("REDIS_URL", &url)]),
                from(&[("UPSTASH_REDIS_REST_URL", &url), ("UPSTASH_REDIS_TOKEN", &password), ("REDIS_MAX_CONNECTIONS", &pw)]),
            ] {
                let text = match result {
                    // A bare `@` in it can make a good URL.
                    Ok(config) if raw => format!("{config} {config:?}"),
                    Ok(config) => panic!("{url} was read as {config}"),
                    Err(error) => shown(&error),
                };
                prop_assert!(!leaks(&text, &password), "{url}: {text}");
            }
        }
    }

    #[test]
    fn no_url_panics(url in "(rediss?|redis-(cluster|sentinel)|unix|https)?(://)?[\\[\\]a:@/?#%&=,0-9\\PC]{0,30}") {
        let _ = RedisConfig::from_url(url);
    }
}
