//! A certificate authority of the test's own, and a server certificate for `localhost` and 127.0.0.1 from it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::Error;

/// What a TLS server needs, and what its clients must trust.
pub(crate) struct Identity {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) ca_pem: String,
    pub(crate) ca_file: PathBuf,
    _folder: tempfile::TempDir,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("ca_file", &self.ca_file).finish_non_exhaustive()
    }
}

impl Identity {
    /// Makes the keys and certificates, and writes the authority's certificate to a file.
    pub(crate) fn make() -> Result<Self, Error> {
        let (acceptor, ca_pem) = acceptor()?;
        let folder = tempfile::Builder::new()
            .prefix("raptor-ca-")
            .tempdir()
            .map_err(Error::io("creating a folder for a certificate"))?;
        let ca_file = folder.path().join("ca.pem");
        write(&ca_file, &ca_pem)?;
        Ok(Self { acceptor, ca_pem, ca_file, _folder: folder })
    }
}

fn acceptor() -> Result<(TlsAcceptor, String), Error> {
    let failed = |error: rcgen::Error| Error::Tls { reason: error.to_string() };
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "raptor-testkit authority");
    let authority_key = KeyPair::generate().map_err(failed)?;
    let authority = CertifiedIssuer::self_signed(authority, authority_key).map_err(failed)?;

    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let key = KeyPair::generate().map_err(failed)?;
    let params = CertificateParams::new(names).map_err(failed)?;
    let certificate = params.signed_by(&key, &authority).map_err(failed)?;

    let unusable = |error: tokio_rustls::rustls::Error| Error::Tls { reason: error.to_string() };
    // Named explicitly: a process may have several providers linked in, and then there is no default.
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .map_err(unusable)?;
    Ok((TlsAcceptor::from(Arc::new(config)), authority.pem()))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(Error::io(format!("writing {}", path.display())))
}
