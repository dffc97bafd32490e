//! TLS with an explicit crypto provider, so that two providers in one build cannot panic.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::{Error, ErrorKind, Result};

/// The system's root certificates, and those of `ca_file` beside them.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let unreadable = |e: String| {
            Error::new(
                ErrorKind::Config,
                format!("the CA file {} is not readable as PEM certificates: {e}", path.display()),
            )
        };
        let mut found = 0;
        for cert in CertificateDer::pem_file_iter(path).map_err(|e| unreadable(e.to_string()))? {
            let cert = cert.map_err(|e| unreadable(e.to_string()))?;
            roots.add(cert).map_err(|e| unreadable(e.to_string()))?;
            found += 1;
        }
        if found == 0 {
            return Err(unreadable("it holds no certificate".into()));
        }
    }
    if roots.is_empty() {
        return Err(Error::new(
            ErrorKind::Config,
            "no root certificate found on this system: install ca-certificates or set REDIS_CA_FILE",
        ));
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .map_err(|e| Error::new(ErrorKind::Config, "TLS cannot be set up").with_source(e))?
    .with_root_certificates(roots)
    .with_no_client_auth();
    Ok(Arc::new(config))
}
