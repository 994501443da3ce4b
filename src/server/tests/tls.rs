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
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await
}

#[tokio::test]
async fn tls_offers_both_protocols_and_takes_new_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let files = config::Tls { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
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
    let problem = certificates.reload(&files).unwrap_err().to_string();
    assert!(problem.contains("key.pem"), "{problem}");
    shake(running.address, &old, b"h2").await.unwrap();
    let new = write_pair(&files);
    certificates.reload(&files).unwrap();
    shake(running.address, &new, b"h2").await.unwrap();
    assert!(shake(running.address, &old, b"h2").await.is_err());
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = config::Tls { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    write_pair(&files);
    let other = config::Tls { cert: folder.path().join("other.pem"), key: files.key.clone() };
    write_pair(&config::Tls { key: folder.path().join("other.key"), ..other.clone() });
    assert!(Certificates::load(&files).is_ok());
    assert!(Certificates::load(&other).is_err());
}
