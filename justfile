# What CI runs.
check:
    .ci/run

# The tests; they start the Postgres they need.
test *arguments:
    cargo test --workspace --locked {{ arguments }}

# Format, clippy, the contract, the dependencies.
lint: clients-installed
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    tests/clients/node_modules/.bin/buf lint
    cargo deny --locked check --hide-inclusion-graph bans licenses sources

# Known vulnerabilities of dependencies; fails where their database cannot be reached.
advisories:
    cargo deny --locked fetch db
    cargo deny --locked check --hide-inclusion-graph advisories

# Fuzzes what strangers send, each target for so many seconds.
fuzz seconds="20":
    fuzz/run {{ seconds }}

# Stories on each major version of Postgres that is supported: by default that a cancelled wait for a standby is no commit.
versions *stories="synchronous::":
    tests/versions/run 12 13 14 15 16 17 18 -- {{ stories }}

# Wrong designs that the tests must notice; takes ten minutes.
mutants name="":
    tests/mutants/run "{{ name }}"

# Replicas under random faults, and one of them paused again and again, for so many seconds.
history seconds="600":
    COUNTERSIGN_HISTORY_SECONDS={{ seconds }} cargo test --locked --test api -- history:: --nocapture

# All interleavings of the protocol of revocations, as far as they can be walked; takes half an hour or more, and 8 GB.
explore:
    COUNTERSIGN_EXPLORE=all cargo test --release --locked --test explore -- --nocapture --test-threads 1

# A server under load, beside the machine's reference points: writes docs/benchmarks-load.md. With --quick a smoke run.
bench *arguments:
    cargo build --release --locked
    benches/load/run target/release/countersign {{ arguments }}

# Calls with 10 million sessions beside 100 thousand, and the clean-up: writes docs/benchmarks-scale.md. With --quick a smoke run.
bench-scale *arguments:
    cargo build --release --locked
    benches/scale/run target/release/countersign {{ arguments }}

# What a question costs at Envoy, beside Envoy alone and beside jwt_authn; needs `wrk`.
bench-mesh *arguments:
    cargo build --release --locked
    benches/mesh/run target/release/countersign {{ arguments }}

# What has become dearer than in a former build, whose binary is given: both in turns.
bench-beside former *arguments:
    cargo build --release --locked
    benches/beside/run target/release/countersign {{ former }} {{ arguments }}

# Signing and verifying beside the bare signature; Login beside bare hashes; the revocation protocol beside bare commits.
bench-parts:
    cargo bench --locked

# What calls cost in instructions, by Valgrind, beside the limits that are set; needs `valgrind`, and `gungraun-runner` of the
# library's version (`cargo install gungraun-runner`).
instructions:
    cargo bench --locked --package countersign --profile release --bench instructions

# Python grpcio and `buf curl` against a running server.
clients *arguments:
    cargo build --locked
    tests/clients/run target/debug/countersign {{ arguments }}

# Envoy, nginx, Caddy and HAProxy with the files of deploy/ before a running server.
mesh *arguments:
    cargo build --locked
    tests/mesh/run target/debug/countersign {{ arguments }}

# Rules, alerts, dashboard, chart, manifests and units of deploy/, by the programs that read them.
deploy *arguments:
    cargo build --locked
    tests/deploy/run target/debug/countersign {{ arguments }}

# Two replicas, an Envoy that verifies tokens by itself, a session revoked at one replica: after how many milliseconds the proxy refuses,
# which the other replica tells.
mesh-demo:
    cargo build --release --locked
    tests/mesh/run target/release/countersign -q -s -k test_the_time_from_revoke_to_the_refusal

# Failovers with Patroni, etcd and haproxy under load; takes six minutes. With --short what CI runs.
drill *arguments:
    cargo build --locked
    tests/drill/run target/debug/countersign {{ arguments }}

# A server to try, with a database of its own.
dev *arguments:
    cargo run --release -- dev {{ arguments }}

[private]
clients-installed:
    tests/clients/install
