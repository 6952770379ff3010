//! The DTLS certificate, whose hash is part of a listener's address.

use dimpl::DtlsCertificate;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use crate::fingerprint::Fingerprint;

/// A DTLS certificate with its private key.
#[derive(Clone, Debug)]
pub struct Certificate {
    dtls: DtlsCertificate,
}

/// Why a certificate could not be generated or read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Generating it failed.
    #[error("cannot generate a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// The private key is damaged, or of a kind that DTLS cannot use.
    #[error(
        "the private key in the certificate file cannot be used: {0}; delete the file to get a new certificate and a new address"
    )]
    Key(#[source] rcgen::Error),
    /// Not PEM.
    #[error("the certificate file is not PEM: {0}")]
    Pem(#[from] pem::PemError),
    /// A PEM section is missing.
    #[error("the certificate file has no section {0}; delete the file to get a new certificate and address")]
    Missing(&'static str),
}

impl Certificate {
    /// Generates a self-signed certificate with an ECDSA P-256 key, as browsers require. It is valid until the year
    /// 4096, since dialers verify only its hash.
    ///
    /// # Errors
    /// [`CertificateError::Generate`].
    pub fn generate() -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "WebRTC");
        let certificate = params.self_signed(&key)?;
        Ok(Self { dtls: DtlsCertificate { certificate: certificate.der().to_vec(), private_key: key.serialize_der() } })
    }

    /// Reads the PEM of [`Certificate::to_pem`], or of libp2p-webrtc. Unknown sections are ignored.
    ///
    /// # Errors
    /// [`CertificateError`] if it is not PEM, lacks a section, or the key cannot be used.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let sections = pem::parse_many(text)?;
        let find = |names: &[&str]| sections.iter().find(|s| names.contains(&s.tag())).map(|s| s.contents().to_vec());
        // libp2p-webrtc writes it with an underscore.
        let private_key = find(&["PRIVATE KEY", "PRIVATE_KEY"]).ok_or(CertificateError::Missing("PRIVATE KEY"))?;
        let certificate = find(&["CERTIFICATE"]).ok_or(CertificateError::Missing("CERTIFICATE"))?;
        // Reports an unusable key now rather than in the first handshake.
        KeyPair::try_from(private_key.as_slice()).map_err(CertificateError::Key)?;
        Ok(Self { dtls: DtlsCertificate { certificate, private_key } })
    }

    /// Encodes it as PEM, including the private key: store it readable by its owner only.
    pub fn to_pem(&self) -> String {
        let section = |tag: &str, bytes: &[u8]| pem::encode(&pem::Pem::new(tag, bytes));
        section("PRIVATE KEY", &self.dtls.private_key) + &section("CERTIFICATE", &self.dtls.certificate)
    }

    /// Its SHA-256 hash, which is part of the address of a listener that uses it.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_certificate(&self.dtls.certificate)
    }

    pub(crate) fn dtls(&self) -> DtlsCertificate {
        self.dtls.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_certificate_keeps_its_hash() {
        let certificate = Certificate::generate().unwrap();
        let kept = Certificate::from_pem(&certificate.to_pem()).unwrap();
        assert_eq!(kept.fingerprint(), certificate.fingerprint());
        assert_ne!(Certificate::generate().unwrap().fingerprint(), certificate.fingerprint());
    }

    #[test]
    fn a_damaged_file_is_refused_with_the_reason() {
        let pem = Certificate::generate().unwrap().to_pem();
        let no_key = &pem[pem.find("-----BEGIN CERTIFICATE").unwrap()..];
        assert!(matches!(Certificate::from_pem(no_key), Err(CertificateError::Missing("PRIVATE KEY"))));
        assert!(matches!(Certificate::from_pem(""), Err(CertificateError::Missing(_))));
        assert!(Certificate::from_pem(&pem.replace("BEGIN PRIVATE KEY", "BEGIN X")).is_err());
        let bad_key = pem::encode(&pem::Pem::new("PRIVATE KEY", [1, 2, 3])) + no_key;
        assert!(matches!(Certificate::from_pem(&bad_key), Err(CertificateError::Key(_))));
    }
}
