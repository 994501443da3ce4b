//! The operators' listener over TLS: who is let in, what the command line believes, and that its files rotate.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use support::process::run;
use support::{House, configuration};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

type Pair = rcgen::CertifiedKey<rcgen::KeyPair>;

/// A folder of certificates, and a gateway whose admin listener shows one and asks for another.
struct Stage {
    house: House,
    folder: TempDir,
    shown: CertificateDer<'static>,
    operator: Pair,
}

/// Makes a certificate that is its own root and writes it and its key.
fn pair(folder: &Path, name: &str, of: &str) -> Pair {
    let made = rcgen::generate_simple_self_signed(vec![of.to_owned()]).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), made.cert.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    made
}

fn admin(folder: &Path, listen: &str) -> String {
    let folder = folder.display();
    format!(
        "[admin]\nlisten = \"{listen}\"\ntoken = {{ file = \"{folder}/token\" }}\n\
         tls = {{ cert = \"{folder}/shown.pem\", key = \"{folder}/shown.key\", client_ca = \"{folder}/operators.pem\" }}\n"
    )
}

impl Stage {
    async fn set() -> Self {
        let folder = TempDir::new().unwrap();
        let shown = pair(folder.path(), "shown", "127.0.0.1");
        let operator = pair(folder.path(), "operator", "operator");
        pair(folder.path(), "stranger", "operator");
        std::fs::copy(folder.path().join("operator.pem"), folder.path().join("operators.pem")).unwrap();
        std::fs::write(folder.path().join("token"), "token-of-the-tests").unwrap();
        let text = "[upstream]\nbase_url = \"$UPSTREAM\"\n";
        let house = House::start(&format!("{}{text}", admin(folder.path(), "127.0.0.1:0"))).await;
        Self { house, shown: shown.cert.der().clone(), operator, folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn address(&self) -> &str {
        self.house.admin_url.strip_prefix("https://").unwrap()
    }

    /// Shakes hands, with a certificate or without.
    async fn shake(&self, own: Option<&Pair>, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.shown.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut client = match own {
            None => client.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
                client.with_client_auth_cert(vec![own.cert.der().clone()], key).unwrap()
            }
        };
        client.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(self.address()).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(client)).connect(name, stream).await
    }

    /// Returns what is answered to a call without a token; nothing where the connection is refused.
    async fn call(&self, own: Option<&Pair>, path: &str) -> String {
        let mut answer = Vec::new();
        if let Ok(mut stream) = self.shake(own, b"http/1.1").await {
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            // A client of TLS 1.3 learns only now that its certificate was refused.
            drop(stream.write_all(request.as_bytes()).await);
            drop(stream.read_to_end(&mut answer).await);
        }
        String::from_utf8(answer).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_need_a_certificate_and_then_the_token_all_the_same() {
    let stage = Stage::set().await;
    let mut plain = TcpStream::connect(stage.address()).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    drop(plain.read_to_end(&mut answer).await);
    assert!(!answer.starts_with(b"HTTP"), "{}", answer.escape_ascii());

    assert_eq!(stage.call(None, "/healthz").await, "");
    let stranger = rcgen::generate_simple_self_signed(vec!["operator".to_owned()]).unwrap();
    assert_eq!(stage.call(Some(&stranger), "/healthz").await, "");
    assert!(stage.call(Some(&stage.operator), "/healthz").await.starts_with("HTTP/1.1 200 "));
    let refused = stage.call(Some(&stage.operator), "/metrics").await;
    assert!(refused.starts_with("HTTP/1.1 401 ") && refused.contains("authentication_error"), "{refused}");

    let stream = stage.shake(Some(&stage.operator), b"h2").await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://127.0.0.1/metrics").header("x-api-key", "token-of-the-tests");
    let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!((answer.version(), answer.status()), (http::Version::HTTP_2, StatusCode::OK));
    assert!(!answer.into_body().collect().await.unwrap().to_bytes().is_empty());
    stage.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_believes_the_configured_certificate_or_given_roots_alone() {
    let stage = Stage::set().await;
    let (url, root) = (stage.house.admin_url.clone(), stage.file("shown.pem"));
    let own = [stage.file("operator.pem"), stage.file("operator.key")];
    let own = ["--client-cert", &own[0], "--client-key", &own[1]];
    let health = |arguments: &[&str]| run(&[&["health"][..], arguments].concat());

    let (code, _, error) = health(&["--url", &url]);
    assert!(code == 6 && error.contains("certificate"), "no root that it knows: {code} {error}");
    let (code, _, error) = health(&["--url", &url, "--ca", &root]);
    assert_eq!(code, 6, "no certificate of its own: {error}");
    let (code, out, error) = health(&[&["--url", &url, "--ca", &root], &own[..]].concat());
    assert_eq!((code, out.trim()), (0, "ready"), "{error}");

    // By the configuration's file, which names another chain first.
    let file = |admin: &str| -> PathBuf {
        let file = stage.folder.path().join("cli.toml");
        let text = configuration("http://127.0.0.1:1", stage.folder.path(), admin);
        std::fs::write(&file, text).unwrap();
        file
    };
    let other = admin(stage.folder.path(), stage.address()).replace("shown.", "stranger.");
    let (code, _, error) = health(&[&["--config", file(&other).to_str().unwrap()], &own[..]].concat());
    assert!(code == 6 && error.contains("another certificate than admin.tls.cert"), "{code} {error}");
    let right = admin(stage.folder.path(), stage.address());
    let (code, out, error) = health(&[&["--config", file(&right).to_str().unwrap()], &own[..]].concat());
    assert_eq!((code, out.trim()), (0, "ready"), "{error}");

    let (code, _, error) = health(&["--url", &url, "--ca", &stage.file("operator.key")]);
    assert!(code == 2 && error.contains("operator.key: no certificate in it"), "{code} {error}");
    stage.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_of_operators_that_change_alone_are_taken_up() {
    let stage = Stage::set().await;
    let mut open = stage.shake(Some(&stage.operator), b"http/1.1").await.unwrap();
    std::fs::copy(stage.file("stranger.pem"), stage.file("operators.pem")).unwrap();
    let refused = async {
        while !stage.call(Some(&stage.operator), "/healthz").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), refused).await.unwrap();
    open.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "a connection that stands goes on: {answer}");
    stage.house.stop().await;
}
