//! What verifiers find over HTTP and gRPC without a token: public keys, metadata, probes.

use std::net::SocketAddr;

use countersign::grpc::v1::GetJwksRequest;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Setup, TestServer};

async fn http_get(addr: SocketAddr, path: &str) -> String {
    http_get_with(addr, path, "Host: localhost:8080\r\n").await
}

async fn http_get_with(addr: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("connect");
    let request = format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn http_serves_the_public_keys_and_probes() {
    let server = TestServer::start().await;
    let tokens = server.user("alice").await.login().await;
    let jwks = http_get(server.http_addr, "/.well-known/jwks.json").await;
    let kid = jsonwebtoken::decode_header(&tokens.access_token).expect("a header").kid.expect("kid");
    assert!(jwks.starts_with("HTTP/1.1 200") && jwks.contains(&kid), "{jwks}");
    assert!(http_get(server.http_addr, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(http_get(server.http_addr, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(http_get(server.http_addr, "/nowhere").await.starts_with("HTTP/1.1 404"));
}

/// What another service in another language would do: jsonwebtoken with the published key, and nothing of ours.
#[tokio::test]
async fn an_ordinary_jwt_library_accepts_our_tokens() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let answer = http_get(server.http_addr, "/.well-known/jwks.json").await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let jwks: jsonwebtoken::jwk::JwkSet = serde_json::from_str(body).expect("a key set");
    let kid = jsonwebtoken::decode_header(&tokens.access_token).expect("a header").kid.expect("kid");
    let key = jsonwebtoken::DecodingKey::from_jwk(jwks.find(&kid).expect("published")).expect("a key");
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.set_audience(&["internal"]);
    validation.set_issuer(&["countersign"]);
    let decoded = jsonwebtoken::decode::<serde_json::Value>(&tokens.access_token, &key, &validation).expect("valid");
    assert_eq!(decoded.header.typ.as_deref(), Some("at+jwt"));
    let mut names: Vec<&str> = decoded.claims.as_object().expect("claims").keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected =
        ["aud", "auth_time", "client_id", "epoch", "exp", "iat", "iss", "jti", "roles", "scope", "sid", "sub"];
    assert_eq!(names, expected);
    assert_eq!(decoded.claims["sub"], alice.id);
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn body(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

#[tokio::test]
async fn the_key_set_is_cached_for_minutes_and_sent_again_only_when_it_has_changed() {
    let server = TestServer::start().await;
    let path = "/.well-known/jwks.json";
    let first = http_get(server.http_addr, path).await;
    assert_eq!(header(&first, "content-type"), Some("application/jwk-set+json"));
    assert_eq!(header(&first, "cache-control"), Some("public, max-age=300"));
    let etag = header(&first, "etag").expect("a name").to_owned();
    for (known, status) in [
        (etag.clone(), "304"),
        (format!("W/{etag}"), "304"),
        (format!("\"x\", {etag}"), "304"),
        ("*".to_owned(), "304"),
        ("\"x\"".to_owned(), "200"),
        (etag.replace('"', ""), "200"),
    ] {
        let answer = http_get_with(server.http_addr, path, &format!("Host: x\r\nIf-None-Match: {known}\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{known}: {answer}");
        assert_eq!(header(&answer, "etag"), Some(etag.as_str()));
    }
}

#[tokio::test]
async fn the_key_set_is_the_same_over_grpc_and_holds_no_private_member() {
    let server = TestServer::start().await;
    let http = body(&http_get(server.http_addr, "/.well-known/jwks.json").await);
    let answer = server.auth_client().get_jwks(GetJwksRequest {}).await.expect("answered").into_inner();
    assert_eq!(serde_json::from_str::<Value>(&answer.jwks).expect("JSON"), http);
    let keys = http["keys"].as_array().expect("keys");
    assert_eq!(keys.len(), 2, "the one that signs and the next");
    for key in keys {
        let mut members: Vec<&str> = key.as_object().expect("a key").keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"]);
    }
}

/// RFC 8414 section 3.1 puts the well-known name before the path of the issuer, OpenID Connect Discovery 1.0 section 4 behind it.
#[tokio::test]
async fn an_issuer_with_a_path_is_found_where_both_specifications_look() {
    let mut setup = Setup::new().await;
    setup.settings.tokens.issuer = "https://auth.example/tenants/one".into();
    let server = setup.start().await;
    for path in [
        "/tenants/one/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/tenants/one",
        "/.well-known/openid-configuration/tenants/one",
        "/.well-known/openid-configuration",
    ] {
        let answer = http_get(server.http_addr, path).await;
        assert_eq!(body(&answer)["issuer"], "https://auth.example/tenants/one", "{path}");
        let jwks = body(&answer)["jwks_uri"].as_str().expect("an address").replace("https://auth.example", "");
        assert_eq!(jwks, "/tenants/one/.well-known/jwks.json");
        assert!(http_get(server.http_addr, &jwks).await.starts_with("HTTP/1.1 200"), "it is there");
    }
    for path in ["/tenants/.well-known/openid-configuration", "/tenants/one/", "/tenants/one/livez", "/x"] {
        assert!(http_get(server.http_addr, path).await.starts_with("HTTP/1.1 404"), "{path}");
    }
}

#[tokio::test]
async fn discovery_says_what_is_true() {
    let mut setup = Setup::new().await;
    let url = setup.database_url.clone();
    setup.settings.tokens.issuer = "https://auth.example/".into();
    let named = setup.start().await;
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let answer = http_get(named.http_addr, path).await;
        assert_eq!(header(&answer, "cache-control"), Some("public, max-age=300"));
        let expected = json!({
            "issuer": "https://auth.example/",
            "jwks_uri": "https://auth.example/.well-known/jwks.json",
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA"],
        });
        assert_eq!(body(&answer), expected);
    }
    let mut setup = Setup::new().await;
    setup.database_url = url;
    let unnamed = setup.start().await;
    let answer = http_get(unnamed.http_addr, "/.well-known/openid-configuration").await;
    assert_eq!(body(&answer)["issuer"], "countersign");
    assert_eq!(body(&answer)["jwks_uri"], "http://localhost:8080/.well-known/jwks.json");
    assert_eq!(header(&answer, "cache-control"), Some("no-store"), "another host would get another answer");
    for host in ["127.0.0.1", "[::1]:9"] {
        let answer =
            http_get_with(unnamed.http_addr, "/.well-known/openid-configuration", &format!("Host: {host}\r\n")).await;
        assert_eq!(body(&answer)["jwks_uri"], format!("http://{host}/.well-known/jwks.json"));
    }
    for bad in ["evil.example", "localhost.evil.example", "localhost@evil.example", "evil@localhost", "a b", "\""] {
        let answer =
            http_get_with(unnamed.http_addr, "/.well-known/openid-configuration", &format!("Host: {bad}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 421") && answer.contains("COUNTERSIGN_PUBLIC_URL"), "{bad}: {answer}");
        assert!(!answer.contains("evil"), "{answer}");
    }
    let answer = http_get_with(unnamed.http_addr, "/.well-known/openid-configuration", "").await;
    assert!(answer.starts_with("HTTP/1.1 421"), "no host: {answer}");
}
