//! The listener's certificate and the roots of its clients', replaceable while it serves.
//!
//! New files are read and checked whole before they take the place of the old ones; a bad file changes nothing.
//! Connections that stand keep what they were shaken with, and what they could resume is forgotten with the old files.
//! TLS 1.2 and 1.3; ALPN offers h2, then http/1.1.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::ListenProblem;
use crate::config;

/// Certificates that were read anew.
pub struct Renewed(Arc<ServerConfig>);

/// What a listener shows of itself, and asks of its clients.
pub struct Certificates {
    section: &'static str,
    provider: Arc<CryptoProvider>,
    server: ArcSwap<ServerConfig>,
}

impl Certificates {
    /// Reads a certificate chain and its key, and the roots of clients where they are to show a certificate; `section`
    /// names them in problems.
    ///
    /// # Errors
    /// When a file cannot be read, holds something else, or chain and key do not belong together.
    pub fn load(section: &'static str, files: &config::Tls) -> Result<Self, ListenProblem> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ArcSwap::from_pointee(read(section, files, &provider)?);
        Ok(Self { section, provider, server })
    }

    /// Reads the files anew, and puts nothing in force yet.
    ///
    /// # Errors
    /// As for [`Certificates::load`].
    pub fn read(&self, files: &config::Tls) -> Result<Renewed, ListenProblem> {
        read(self.section, files, &self.provider).map(|server| Renewed(Arc::new(server)))
    }

    /// Makes new handshakes use what was read.
    pub fn renew(&self, renewed: Renewed) {
        self.server.store(renewed.0);
    }

    /// Returns what the next handshake is made with.
    pub(super) fn server(&self) -> Arc<ServerConfig> {
        self.server.load_full()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Certificates(…)")
    }
}

fn read(
    section: &'static str,
    files: &config::Tls,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, ListenProblem> {
    let unusable = |path: &Path, reason: &dyn fmt::Display| ListenProblem::Certificate {
        section,
        path: path.to_owned(),
        reason: reason.to_string(),
    };
    let chain = certificates(&files.cert).map_err(|reason| unusable(&files.cert, &reason))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unusable(&files.key, &error))?;
    let server = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&files.cert, &error))?;
    let server = match &files.client_ca {
        None => server.with_no_client_auth(),
        Some(roots) => {
            let verifier = verifier(roots, provider).map_err(|reason| unusable(roots, &reason))?;
            server.with_client_cert_verifier(verifier)
        }
    };
    let mut server = server.with_single_cert(chain, key).map_err(|error| unusable(&files.key, &error))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(server)
}

fn verifier(file: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for root in certificates(file)? {
        roots.add(root).map_err(|error| error.to_string())?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| error.to_string())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| error.to_string())?;
    if read.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(read) }
}
