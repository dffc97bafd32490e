//! No password or token in what a client shows of itself.

use raptor_core::{RedisClient, RedisConfig};
use raptor_testkit::Server;

#[tokio::test]
async fn debug_of_client_config_and_errors_shows_no_secret() {
    let server = Server::builder().password("hunter2-secret").start().await.expect("starts");
    let config = RedisConfig::from_url(server.url()).expect("a good URL");
    let shown = format!("{config:?}");
    let client = RedisClient::connect(config).await.expect("connects");
    let wrong = format!("redis://:wrong-hunter3@127.0.0.1:{}", server.port());
    let error = RedisClient::connect(RedisConfig::from_url(&wrong).expect("a good URL"))
        .await
        .expect_err("refused");
    let all = format!("{shown} {client:?} {error:?} {error}");
    assert!(!all.contains("hunter2-secret") && !all.contains("hunter3"), "{all}");
}
