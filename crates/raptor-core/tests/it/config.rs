//! Configuration: every good form is read. What is wrong is in `config_problems.rs`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use raptor_core::config::{Driver, Endpoint, Protocol, RedisConfig, Topology};
use raptor_core::{Error, ErrorKind, Result};

pub(crate) const SECRET: &str = "hunter2hunter2";

pub(crate) fn from(settings: &[(&str, &str)]) -> Result<RedisConfig> {
    let map: HashMap<&str, &str> = settings.iter().copied().collect();
    RedisConfig::from_lookup(|name| map.get(name).map(|&value| value.to_owned()))
}

pub(crate) fn good(settings: &[(&str, &str)]) -> RedisConfig {
    from(settings).unwrap_or_else(|error| panic!("{settings:?}: {error}"))
}

pub(crate) fn bad(settings: &[(&str, &str)]) -> Error {
    match from(settings) {
        Ok(config) => panic!("{settings:?} was read as {config}"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!shown(&error).contains(SECRET), "{error}");
            error
        }
    }
}

/// Everything that an error lets see.
pub(crate) fn shown(error: &Error) -> String {
    format!("{error} {error:?} {error:#?}")
}

pub(crate) fn tcp(host: &str, port: u16) -> Endpoint {
    Endpoint::Tcp { host: host.into(), port }
}

pub(crate) fn login(config: &RedisConfig) -> (Option<&str>, Option<&str>) {
    let login = config.credentials();
    (login.username(), login.password().map(|secret| secret.expose()))
}

/// A file in the tests' own directory.
pub(crate) fn file(name: &str, content: &str) -> PathBuf {
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    std::fs::write(&path, content).expect("a writable directory");
    path
}

#[test]
fn defaults_are_those_documented() {
    let config = good(&[("REDIS_URL", "redis://localhost")]);
    assert_eq!(config.topology(), &Topology::Standalone(tcp("localhost", 6379)));
    assert_eq!(login(&config), (None, None));
    assert!(config.tls().is_none());
    assert_eq!((config.database(), config.protocol()), (0, Protocol::Resp3));
    assert_eq!(config.key_space().prefix(), "raptorflow:");
    assert_eq!(config.default_ttl(), Duration::from_secs(3600));
    assert_eq!(config.max_connections(), 10);
    assert_eq!(config.command_timeout(), Duration::from_millis(2000));
    assert_eq!(config.connect_timeout(), Duration::from_millis(3000));
    assert!(!config.debug_commands());
    let redis = Driver::Redis.is_compiled();
    assert_eq!(config.driver(), if redis { Driver::Redis } else { Driver::Fred });
}

#[test]
fn every_driver_that_is_compiled_in_can_be_chosen() {
    for driver in [Driver::Fred, Driver::Redis].into_iter().filter(|driver| driver.is_compiled()) {
        let url = ("REDIS_URL", "redis://h");
        let config = good(&[url, ("RAPTOR_REDIS_DRIVER", &driver.to_string())]);
        assert_eq!(config.driver(), driver);
        let config = RedisConfig::builder().url("redis://h").driver(driver).build();
        assert_eq!(config.expect("good settings").driver(), driver);
    }
}

#[test]
fn every_variable_is_read() {
    let config = good(&[
        ("UPSTASH_REDIS_URL", "redis://h"),
        ("REDIS_KEY_PREFIX", "app/v2:"),
        ("REDIS_DEFAULT_TTL", "60"),
        ("REDIS_MAX_CONNECTIONS", "1000"),
        ("REDIS_COMMAND_TIMEOUT_MS", "1"),
        ("REDIS_CONNECT_TIMEOUT_MS", "600000"),
        ("REDIS_DEBUG", "1"),
    ]);
    assert_eq!(config.key_space().prefix(), "app/v2:");
    assert_eq!(config.default_ttl(), Duration::from_secs(60));
    assert_eq!(config.max_connections(), 1000);
    assert_eq!(config.command_timeout(), Duration::from_millis(1));
    assert_eq!(config.connect_timeout(), Duration::from_millis(600_000));
    for (text, on) in [("1", true), ("true", true), ("0", false), ("false", false)] {
        let config = good(&[("REDIS_URL", "redis://h"), ("REDIS_DEBUG", text)]);
        assert_eq!(config.debug_commands(), on, "{text}");
    }
}

#[test]
fn urls_of_one_server() {
    for (url, endpoint, user, password, database, tls) in [
        ("redis://h", tcp("h", 6379), None, None, 0, false),
        ("REDIS://H/", tcp("h", 6379), None, None, 0, false),
        ("rediss://h:1/255", tcp("h", 1), None, None, 255, true),
        ("redis://:p%40ss%2F%25@h:6380/2", tcp("h", 6380), None, Some("p@ss/%"), 2, false),
        ("redis://:p@ss:w@h", tcp("h", 6379), None, Some("p@ss:w"), 0, false),
        ("rediss://al%3Aice:pw@h", tcp("h", 6379), Some("al:ice"), Some("pw"), 0, true),
        ("redis://default:pw@[::1]", tcp("::1", 6379), Some("default"), Some("pw"), 0, false),
        ("redis://[::1]:7000/1", tcp("::1", 7000), None, None, 1, false),
        ("unix:///run/redis.sock", Endpoint::Unix("/run/redis.sock".into()), None, None, 0, false),
        (
            "unix:///run/a%20b@c.sock?db=1",
            Endpoint::Unix("/run/a b@c.sock".into()),
            None,
            None,
            1,
            false,
        ),
        ("redis+unix://:pw@/r.sock", Endpoint::Unix("/r.sock".into()), None, Some("pw"), 0, false),
    ] {
        let config = RedisConfig::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(config.topology(), &Topology::Standalone(endpoint), "{url}");
        assert_eq!(login(&config), (user, password), "{url}");
        assert_eq!((config.database(), config.tls().is_some()), (database, tls), "{url}");
    }
    for (url, protocol) in [
        ("redis://h?protocol=2", Protocol::Resp2),
        ("redis://h/?protocol=3", Protocol::Resp3),
        ("unix:///s?protocol=2&db=3", Protocol::Resp2),
    ] {
        assert_eq!(RedisConfig::from_url(url).expect(url).protocol(), protocol, "{url}");
    }
}

#[test]
fn urls_of_clusters() {
    for (url, ports, tls) in [
        ("redis-cluster://h:1,h:2", &[1, 2][..], false),
        ("rediss-cluster://h", &[6379], true),
        ("redis-cluster://:pw@h:1?node=h:2&node=h:3&protocol=2", &[1, 2, 3], false),
        ("redis-cluster://?node=h:1&node=h:2", &[1, 2], false),
        ("redis-cluster://h:1,h:1,H:1/0", &[1], false),
    ] {
        let config = RedisConfig::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        let seeds = ports.iter().map(|&port| tcp("h", port)).collect();
        assert_eq!(config.topology(), &Topology::Cluster { seeds }, "{url}");
        assert_eq!((config.tls().is_some(), config.database()), (tls, 0), "{url}");
    }
    let v6 =
        RedisConfig::from_url("redis-cluster://[::1]:1,[::2]?node=[::3]:3").expect("IPv6 seeds");
    let seeds = vec![tcp("::1", 1), tcp("::2", 6379), tcp("::3", 3)];
    assert_eq!(v6.topology(), &Topology::Cluster { seeds });
}

#[test]
fn urls_of_sentinels() {
    let config = RedisConfig::from_url(
        "rediss-sentinel://al:pw@s1,s2:5/3?sentinelServiceName=main&sentinelUsername=su&sentinelPassword=s%26p",
    )
    .expect("a full sentinel URL");
    assert_eq!((login(&config), config.database()), ((Some("al"), Some("pw")), 3));
    assert!(config.tls().is_some());
    let Topology::Sentinel { service, sentinels, credentials } = config.topology() else {
        panic!("{config}");
    };
    assert_eq!((service.as_str(), &sentinels[..]), ("main", &[tcp("s1", 26379), tcp("s2", 5)][..]));
    assert_eq!(credentials.username(), Some("su"));
    assert_eq!(credentials.password().map(|secret| secret.expose()), Some("s&p"));

    let config = RedisConfig::from_url("redis-sentinel://:pw@s1?node=s2&sentinelServiceName=m")
        .expect("a short sentinel URL");
    let Topology::Sentinel { sentinels, credentials, .. } = config.topology() else {
        panic!("{config}");
    };
    assert_eq!(sentinels, &[tcp("s1", 26379), tcp("s2", 26379)]);
    assert_eq!((credentials.username(), credentials.password()), (None, None));
}

#[test]
fn an_https_url_with_a_token_is_tls_with_user_default() {
    for settings in [
        &[("UPSTASH_REDIS_URL", "https://eu1.upstash.io"), ("UPSTASH_REDIS_TOKEN", SECRET)][..],
        &[
            ("UPSTASH_REDIS_REST_URL", "https://EU1.upstash.io/"),
            ("UPSTASH_REDIS_REST_TOKEN", SECRET),
        ],
        &[
            ("UPSTASH_REDIS_REST_URL", "https://eu1.upstash.io:443"),
            ("UPSTASH_REDIS_TOKEN", SECRET),
        ],
        &[("REDIS_URL", "https://eu1.upstash.io"), ("UPSTASH_REDIS_TOKEN", SECRET)],
        // All that a dashboard offers, at once.
        &[
            ("UPSTASH_REDIS_URL", "rediss://default:hunter2hunter2@eu1.upstash.io:6379"),
            ("UPSTASH_REDIS_REST_URL", "https://eu1.upstash.io"),
            ("UPSTASH_REDIS_REST_TOKEN", SECRET),
            ("UPSTASH_REDIS_TOKEN", SECRET),
            ("REDIS_URL", "rediss://:hunter2hunter2@eu1.upstash.io/0"),
        ],
    ] {
        let config = good(settings);
        assert_eq!(config.topology(), &Topology::Standalone(tcp("eu1.upstash.io", 6379)));
        assert_eq!(login(&config), (Some("default"), Some(SECRET)));
        assert!(config.tls().is_some_and(|tls| tls.ca_file().is_none()));
    }
}

#[test]
fn a_token_is_the_password_of_an_upstash_url_of_any_scheme() {
    let config = good(&[("UPSTASH_REDIS_URL", "rediss://h:7/1"), ("UPSTASH_REDIS_TOKEN", SECRET)]);
    assert_eq!(login(&config), (None, Some(SECRET)));
    assert_eq!(config.database(), 1);
}

#[test]
fn the_builder_sets_everything() {
    let config = RedisConfig::builder()
        .url("rediss://ignored")
        .url("rediss://h:7")
        .username("alice")
        .password(SECRET)
        .database(3)
        .protocol(Protocol::Resp2)
        .key_prefix("app:")
        .default_ttl(Duration::from_secs(1))
        .max_connections(1)
        .command_timeout(Duration::from_millis(250))
        .connect_timeout(Duration::from_secs(1))
        .debug_commands(true)
        .build()
        .expect("good settings");
    assert_eq!(login(&config), (Some("alice"), Some(SECRET)));
    assert_eq!((config.database(), config.protocol()), (3, Protocol::Resp2));
    assert_eq!((config.key_space().prefix(), config.max_connections()), ("app:", 1));
    assert_eq!(config.default_ttl(), Duration::from_secs(1));
    assert_eq!(config.command_timeout(), Duration::from_millis(250));
    assert_eq!(config.connect_timeout(), Duration::from_secs(1));
    assert!(config.debug_commands());
    assert_eq!(config.to_string(), "h:7 (TLS, user alice, database 3, RESP2, prefix app:)");
    let rest = RedisConfig::builder().url("https://h").token(SECRET).build().expect("a REST pair");
    assert_eq!(login(&rest), (Some("default"), Some(SECRET)));
    let rest = RedisConfig::builder().url("https://h").token(SECRET).username("ro").build();
    assert_eq!(login(&rest.expect("a REST user")), (Some("ro"), Some(SECRET)));
}

#[test]
fn the_builder_names_all_problems_by_its_setters() {
    let builder = RedisConfig::builder()
        .url("redis-cluster://bob:hunter2hunter2@h?protocol=2")
        .username("alice")
        .password("another-secret")
        .database(1)
        .protocol(Protocol::Resp3)
        .key_prefix("")
        .default_ttl(Duration::from_millis(1500))
        .max_connections(0)
        .command_timeout(Duration::ZERO)
        .connect_timeout(Duration::MAX);
    let debug = format!("{builder:?}");
    let error = builder.build().expect_err("nothing is right");
    for text in [
        "url: holds another password than password",
        "username: differs",
        "database: is not 0",
        "protocol: differs",
        "key_prefix: is empty",
        "default_ttl: is not a whole number of seconds",
        "max_connections: is 0",
        "command_timeout: is 0",
        "connect_timeout: is ",
    ] {
        assert!(error.to_string().contains(&format!("- {text}")), "{text}: {error}");
    }
    for text in [shown(&error), debug] {
        assert!(!text.contains(SECRET) && !text.contains("another-secret"), "{text}");
    }
    let error = RedisConfig::builder().username("u").build().expect_err("no URL");
    assert!(error.to_string().contains("- url: is not set"), "{error}");
    let error =
        RedisConfig::builder().url("redis://h").username("u").build().expect_err("no password");
    assert!(error.to_string().contains("- username: is set without a password"), "{error}");
}

#[test]
fn a_service_has_its_own_servers_or_the_common_ones() {
    use raptor_core::config::Service;
    let common = ("REDIS_URL", "redis://common");
    let own = |settings: &[(&str, &str)], service| {
        let map: HashMap<&str, &str> = settings.iter().copied().collect();
        RedisConfig::from_lookup_for(service, |name| map.get(name).map(|&value| value.to_owned()))
    };
    let at = |config: Result<RedisConfig>| config.expect("good").topology().clone();
    let settings = [common, ("RAPTOR_CACHE_URL", "redis://cache:7000"), ("REDIS_KEY_PREFIX", "x:")];
    assert_eq!(at(own(&settings, Service::Cache)), Topology::Standalone(tcp("cache", 7000)));
    assert_eq!(at(own(&settings, Service::Queue)), Topology::Standalone(tcp("common", 6379)));
    assert_eq!(own(&settings, Service::Cache).expect("good").key_space().prefix(), "x:");
    // Another service's token is not sent to these servers.
    let settings =
        [("UPSTASH_REDIS_TOKEN", "common-token"), ("RAPTOR_OPS_URL", "https://ops.example")];
    let error = own(&settings, Service::Ops).expect_err("no token of its own");
    assert!(error.to_string().contains("RAPTOR_OPS_TOKEN"), "{error}");
    let bad =
        own(&[common, ("RAPTOR_LOCKS_URL", "redis://")], Service::Locks).expect_err("no host");
    assert!(bad.to_string().contains("RAPTOR_LOCKS_URL"), "{bad}");
}
