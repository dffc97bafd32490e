//! No password or token in what a client shows of itself.

use raptor_core::RedisClient;
use raptor_testkit::Server;

use crate::fixture;

#[tokio::test]
async fn debug_of_client_config_and_errors_shows_no_secret() {
    let server = Server::builder().password("hunter2-secret").start().await.expect("starts");
    let config = fixture::config(server.url());
    let shown = format!("{config:?}");
    let client = RedisClient::connect(config).await.expect("connects");
    let wrong = format!("redis://:wrong-hunter3@127.0.0.1:{}", server.port());
    let error = RedisClient::connect(fixture::config(wrong)).await.expect_err("refused");
    let all = format!("{shown} {client:?} {error:?} {error}");
    assert!(!all.contains("hunter2-secret") && !all.contains("hunter3"), "{all}");
}
