//! The listener's certificate, replaceable while it serves.
//!
//! A new pair is read and checked whole before it takes the place of the old one; a bad file changes nothing.
//! Handshakes begun before keep what they have. TLS 1.2 and 1.3; ALPN offers h2, then http/1.1.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::ListenProblem;
use crate::config;

/// Certificate and key of a listener.
pub struct Certificates {
    current: Arc<Current>,
    server: Arc<ServerConfig>,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl Certificates {
    /// Reads a certificate chain and its key.
    ///
    /// # Errors
    /// When a file cannot be read, holds something else, or the two do not belong together.
    pub fn load(files: &config::Tls) -> Result<Self, ListenProblem> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let current = Arc::new(Current(ArcSwap::from_pointee(read(files, &provider)?)));
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&files.cert, &error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current>::clone(&current));
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { current, server: Arc::new(server) })
    }

    /// Reads the pair anew; new handshakes use it.
    ///
    /// # Errors
    /// As for [`Certificates::load`]; the old pair then stays.
    pub fn reload(&self, files: &config::Tls) -> Result<(), ListenProblem> {
        let fresh = read(files, self.server.crypto_provider())?;
        self.current.0.store(Arc::new(fresh));
        Ok(())
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Certificates(…)")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn read(files: &config::Tls, provider: &CryptoProvider) -> Result<CertifiedKey, ListenProblem> {
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(&files.cert, &error))?;
    if chain.is_empty() {
        return Err(unusable(&files.cert, &"no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unusable(&files.key, &error))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| unusable(&files.key, &error))
}

fn unusable(path: &Path, reason: &dyn fmt::Display) -> ListenProblem {
    ListenProblem::Certificate { path: path.to_owned(), reason: reason.to_string() }
}
