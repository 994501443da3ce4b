//! Opening connections, plain or with TLS.

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use super::{BodyProblem, UpstreamProblem};

/// Connects TCP and TLS within one deadline.
#[derive(Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<HttpConnector>,
    timeout: Duration,
}

/// A connection; what is larger than a socket, such as one with TLS, lies apart.
pub(super) enum Stream {
    Plain(TcpStream),
    Apart(Box<dyn Transport>),
}

/// Whatever bytes go over.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

impl Connector {
    pub(super) fn new(ca: Option<&Path>, timeout: Duration) -> Result<Self, UpstreamProblem> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(TCP_KEEPALIVE));
        Ok(Self { inner: HttpsConnector::from((http, tls(ca)?)), timeout })
    }

    /// Opens a connection.
    pub(super) async fn connect(&self, target: Uri) -> Result<Stream, BodyProblem> {
        #[cfg(test)]
        if let Some(connecting) = super::played::connect(&target) {
            let connected = tokio::time::timeout(self.timeout, connecting).await;
            return Ok(Stream::Apart(connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??));
        }
        let mut inner = self.inner.clone();
        poll_fn(|context| inner.poll_ready(context)).await?;
        let connecting = tokio::time::timeout(self.timeout, inner.call(target));
        let stream = connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(match stream {
            MaybeHttpsStream::Http(plain) => Stream::Plain(plain.into_inner()),
            MaybeHttpsStream::Https(tls) => Stream::Apart(Box::new(tls.into_inner())),
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(plain) => Pin::new(plain).poll_read(context, buffer),
            Self::Apart(apart) => Pin::new(apart).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(plain) => Pin::new(plain).poll_write(context, bytes),
            Self::Apart(apart) => Pin::new(apart).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(plain) => Pin::new(plain).poll_flush(context),
            Self::Apart(apart) => Pin::new(apart).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(plain) => Pin::new(plain).poll_shutdown(context),
            Self::Apart(apart) => Pin::new(apart).poll_shutdown(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(plain) => Pin::new(plain).poll_write_vectored(context, slices),
            Self::Apart(apart) => Pin::new(apart).poll_write_vectored(context, slices),
        }
    }
}

/// Trusts the built-in roots and those of the `ca` file; speaks HTTP/1.1 only.
///
/// # Errors
/// Where the file cannot be read or holds no certificate.
pub fn tls(ca: Option<&Path>) -> Result<ClientConfig, UpstreamProblem> {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    if let Some(path) = ca {
        let problem = |reason: String| UpstreamProblem::Ca { path: path.to_owned(), reason };
        let mut found = 0_usize;
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| problem(error.to_string()))? {
            let certificate = certificate.map_err(|error| problem(error.to_string()))?;
            roots.add(certificate).map_err(|error| problem(error.to_string()))?;
            found += 1;
        }
        if found == 0 {
            return Err(problem("no certificate in it".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Idle time after which the kernel probes a connection.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
