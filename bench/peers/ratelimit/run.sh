#!/bin/sh
# Runs the rivals beside ours: `bench/peers/ratelimit/run.sh`. Needs node and npm for
# rate-limiter-flexible; its server is started by `cargo xtask engine`, or named by REDIS_URL's
# host:port or a unix socket as the first argument.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cargo run --release --quiet --manifest-path "$here/Cargo.toml"
if [ $# -gt 0 ]; then
    (cd "$here" && npm ci --silent --no-audit --no-fund && node flexible.mjs "$1")
else
    echo "name a server to run rate-limiter-flexible too: run.sh HOST:PORT"
fi
