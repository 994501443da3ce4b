//! The same over HTTP/2 by prior knowledge, and over TLS by ALPN.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::support::http::ask;
use super::support::{ACME, House, TENANTS};

fn message(url: &str, stream: bool) -> Request<Full<Bytes>> {
    let streamed = format!("{{\"stream\":{stream},");
    let body = ask("claude-opus-5-5", "write 60 words").replacen('{', &streamed, 1);
    Request::builder()
        .method(Method::POST)
        .uri(format!("{url}/v1/messages?beta=true"))
        .header("x-api-key", ACME)
        .header("anthropic-version", "2023-06-01")
        .body(Full::new(Bytes::from(body)))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_spoken_by_prior_knowledge() {
    let house = House::start(TENANTS).await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    for stream in [false, true] {
        let answer = client.request(message(&house.url, stream)).await.unwrap();
        assert_eq!((answer.version(), answer.status().as_u16()), (http::Version::HTTP_2, 200));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(String::from_utf8_lossy(&body).contains("event: message_stop"), stream);
    }
    assert!(house.upstream.requests().iter().all(|seen| seen.path == "/v1/messages?beta=true"));
    assert_eq!(house.records_when(2).await.len(), 2);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_no_uri_goes_nowhere_by_http_2_either() {
    let house = House::start(TENANTS).await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    for path in ["/v1/other/caf\u{e9}", "/v1/models?after_id=caf\u{e9}"] {
        let asked = Request::get(format!("{}{path}", house.url)).header("x-api-key", ACME);
        let answer = client.request(asked.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(answer.status().as_u16(), 400, "{path}");
    }
    assert!(house.upstream.requests().is_empty());
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_agrees_on_http_2_or_1_by_alpn() {
    let folder = TempDir::new().unwrap();
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, signed.cert.pem()).unwrap();
    std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let tls = format!("tls = {{ cert = \"{}\", key = \"{}\" }}", cert.display(), key.display());
    let house = House::start(&format!("[server]\nlisten = \"127.0.0.1:0\"\n{tls}\n{TENANTS}")).await;
    assert!(house.url.starts_with("https://"), "{}", house.url);

    let mut roots = RootCertStore::empty();
    roots.add(signed.cert.der().clone()).unwrap();
    for (offered, agreed) in
        [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
    {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let socket = TcpStream::connect(house.url.trim_start_matches("https://")).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes), "{offered:?}");
        let stream = TokioIo::new(stream);
        let request = message("https://localhost", true);
        let answer = if agreed == Some("h2") {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let mut request = request;
            *request.uri_mut() = "/v1/messages".parse().unwrap();
            request.headers_mut().insert("host", "localhost".parse().unwrap());
            sender.send_request(request).await.unwrap()
        };
        assert_eq!(answer.status().as_u16(), 200, "{offered:?}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("event: message_stop"), "{offered:?}");
    }
    house.stop().await;
}
