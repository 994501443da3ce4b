//! Certificates and what is negotiated over them.

use super::*;

/// Writes a fresh self-signed pair and returns its certificate.
fn write_pair(files: &config::Tls) -> rustls::pki_types::CertificateDer<'static> {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&files.cert, signed.cert.pem()).unwrap();
    std::fs::write(&files.key, signed.signing_key.serialize_pem()).unwrap();
    signed.cert.der().clone()
}

async fn shake(
    address: SocketAddr,
    root: &rustls::pki_types::CertificateDer<'static>,
    alpn: &[u8],
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    shake_as(address, root, alpn, None).await
}

/// Likewise, with a certificate of the client's own.
async fn shake_as(
    address: SocketAddr,
    root: &rustls::pki_types::CertificateDer<'static>,
    alpn: &[u8],
    own: Option<&rcgen::CertifiedKey<rcgen::KeyPair>>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut client = match own {
        None => client.with_no_client_auth(),
        Some(own) => {
            let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
            client.with_client_auth_cert(vec![own.cert.der().clone()], key).unwrap()
        }
    };
    client.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await
}

#[tokio::test]
async fn tls_offers_both_protocols_and_takes_new_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let files = config::Tls {
        cert: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
        client_ca: None,
    };
    let old = write_pair(&files);
    let running = running(&config::Server { tls: Some(files.clone()), ..config() }).await;
    let mut stream = shake(running.address, &old, b"http/1.1").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    read_until(&mut stream, "HTTP/1.1 tls=true ").await;
    let stream = shake(running.address, &old, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let answer = over_http2(stream, "https://localhost/").await.into_body().collect().await.unwrap();
    assert_eq!(answer.to_bytes(), "HTTP/2.0 tls=true ");

    let certificates = running.certificates.unwrap();
    std::fs::write(&files.key, "garbage").unwrap();
    let problem = certificates.read(&files).map(|_| ()).unwrap_err().to_string();
    assert!(problem.contains("key.pem"), "{problem}");
    shake(running.address, &old, b"h2").await.unwrap();
    let new = write_pair(&files);
    certificates.renew(certificates.read(&files).unwrap());
    shake(running.address, &new, b"h2").await.unwrap();
    assert!(shake(running.address, &old, b"h2").await.is_err());
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = config::Tls {
        cert: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
        client_ca: None,
    };
    write_pair(&files);
    let other =
        config::Tls { cert: folder.path().join("other.pem"), key: files.key.clone(), client_ca: None };
    write_pair(&config::Tls { key: folder.path().join("other.key"), ..other.clone() });
    assert!(Certificates::load("server", &files).is_ok());
    assert!(Certificates::load("server", &other).is_err());
}

/// Asks over a connection; `None` where the server ends it instead.
async fn asked(stream: io::Result<tokio_rustls::client::TlsStream<TcpStream>>) -> Option<String> {
    let mut stream = stream.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    // A client of TLS 1.3 learns only now that its certificate was refused.
    stream.read_to_string(&mut answer).await.ok().filter(|read| *read > 0).map(|_| answer)
}

#[tokio::test]
async fn clients_show_a_certificate_where_that_is_asked_and_the_roots_rotate_under_a_connection() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let files =
        config::Tls { cert: path("cert.pem"), key: path("key.pem"), client_ca: Some(path("clients.pem")) };
    let root = write_pair(&files);
    let client = || rcgen::generate_simple_self_signed(vec!["client".to_owned()]).unwrap();
    let (first, second) = (client(), client());
    std::fs::write(path("clients.pem"), first.cert.pem()).unwrap();
    let running = running(&config::Server { tls: Some(files.clone()), ..config() }).await;
    let ask = async |own| asked(shake_as(running.address, &root, b"http/1.1", own).await).await;
    assert!(ask(Some(&first)).await.unwrap().contains("HTTP/1.1 tls=true"));
    assert_eq!(ask(Some(&second)).await, None, "a certificate of nobody we know");
    assert_eq!(ask(None).await, None, "no certificate");
    // A connection that stands outlives the roots it was let in by.
    let mut open = shake_as(running.address, &root, b"http/1.1", Some(&first)).await.unwrap();
    open.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    read_until(&mut open, "tls=true ").await;
    let certificates = running.certificates.clone().unwrap();
    std::fs::write(path("clients.pem"), "no certificate").unwrap();
    assert!(certificates.read(&files).is_err());
    assert!(ask(Some(&first)).await.is_some(), "a bad file changes nothing");
    std::fs::write(path("clients.pem"), second.cert.pem()).unwrap();
    certificates.renew(certificates.read(&files).unwrap());
    assert!(ask(Some(&second)).await.is_some());
    assert_eq!(ask(Some(&first)).await, None, "revoked");
    open.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    read_until(&mut open, "tls=true ").await;
}
