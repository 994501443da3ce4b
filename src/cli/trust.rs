//! Whom the command line believes to be a gateway behind TLS, and what it shows of itself.
//!
//! With the gateway's own configuration at hand the listener has to show the very certificate that the file names,
//! whatever name or root it has; else one that goes back to the roots of the web, or to those that were given.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Files for calls over TLS.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Trust {
    /// With --url https://…: root certificates (PEM) to believe besides those of the web.
    #[arg(long, value_name = "F", requires = "url")]
    ca: Option<PathBuf>,
    /// A certificate (PEM) to show where `admin.tls.client_ca` asks for one, with its key.
    #[arg(long, value_name = "F", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// The key (PEM) of that certificate.
    #[arg(long, value_name = "F", requires = "client_cert")]
    client_key: Option<PathBuf>,
}

impl Trust {
    /// Returns what calls over TLS are made with; `shown` is the chain that the gateway's own configuration names.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub(super) fn client(&self, shown: Option<&Path>) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match shown {
            Some(chain) => {
                let leaf = certificates(chain)?.swap_remove(0);
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Shown { leaf, provider }))
            }
            None => builder.with_root_certificates(self.roots()?),
        };
        let (Some(cert), Some(key)) = (&self.client_cert, &self.client_key) else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates(cert)?;
        let unusable = |error: &dyn std::fmt::Display| format!("cannot use {}: {error}", key.display());
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(&error))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| unusable(&error))
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        if let Some(file) = &self.ca {
            for root in certificates(file)? {
                roots.add(root).map_err(|error| format!("cannot use {}: {error}", file.display()))?;
            }
        }
        Ok(roots)
    }
}

/// Returns the certificates of a file, one at least.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("cannot use {}: no certificate in it", file.display())),
        Err(error) => Err(format!("cannot use {}: {error}", file.display())),
    }
}

/// Believes whoever shows, and holds the key of, one certificate.
#[derive(Debug)]
struct Shown {
    leaf: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *shown == self.leaf {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General("it shows another certificate than admin.tls.cert".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
