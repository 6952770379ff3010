//! The certificate that a listener's address names by its hash. Keep it, and the address stays.

use dimpl::DtlsCertificate;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use crate::fingerprint::Fingerprint;

/// Certificate and private key for DTLS.
#[derive(Clone, Debug)]
pub struct Certificate {
    dtls: DtlsCertificate,
}

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Making it failed.
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// Not PEM.
    #[error("the certificate file is not PEM: {0}")]
    Pem(#[from] pem::PemError),
    /// A section is missing.
    #[error("the certificate file has no section {0}; delete the file to get a new certificate and a new address")]
    Missing(&'static str),
}

impl Certificate {
    /// A new one, signed by itself, ECDSA on P-256 as browsers want it. It does not run out before the year 4096:
    /// who dials checks the hash and nothing else.
    pub fn generate() -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "WebRTC");
        let certificate = params.self_signed(&key)?;
        Ok(Self { dtls: DtlsCertificate { certificate: certificate.der().to_vec(), private_key: key.serialize_der() } })
    }

    /// Reads what [`Certificate::to_pem`] wrote. Sections of other names are passed over.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let sections = pem::parse_many(text)?;
        let find = |names: &[&str]| sections.iter().find(|s| names.contains(&s.tag())).map(|s| s.contents().to_vec());
        // libp2p-webrtc writes the underscore.
        let private_key = find(&["PRIVATE KEY", "PRIVATE_KEY"]).ok_or(CertificateError::Missing("PRIVATE KEY"))?;
        let certificate = find(&["CERTIFICATE"]).ok_or(CertificateError::Missing("CERTIFICATE"))?;
        // A key that is none, or of a kind that DTLS cannot use, is better found now than in the first handshake.
        KeyPair::try_from(private_key.as_slice())?;
        Ok(Self { dtls: DtlsCertificate { certificate, private_key } })
    }

    /// As PEM, with the private key: keep it where only its owner can read it.
    pub fn to_pem(&self) -> String {
        let section = |tag: &str, bytes: &[u8]| pem::encode(&pem::Pem::new(tag, bytes));
        section("PRIVATE KEY", &self.dtls.private_key) + &section("CERTIFICATE", &self.dtls.certificate)
    }

    /// Its hash, as in the address of whoever listens with it.
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
    fn a_kept_certificate_keeps_its_hash() {
        let certificate = Certificate::generate().unwrap();
        let kept = Certificate::from_pem(&certificate.to_pem()).unwrap();
        assert_eq!(kept.fingerprint(), certificate.fingerprint());
        assert_ne!(Certificate::generate().unwrap().fingerprint(), certificate.fingerprint());
    }

    #[test]
    fn a_broken_file_is_refused_with_its_reason() {
        let pem = Certificate::generate().unwrap().to_pem();
        let no_key = &pem[pem.find("-----BEGIN CERTIFICATE").unwrap()..];
        assert!(matches!(Certificate::from_pem(no_key), Err(CertificateError::Missing("PRIVATE KEY"))));
        assert!(matches!(Certificate::from_pem(""), Err(CertificateError::Missing(_))));
        assert!(Certificate::from_pem(&pem.replace("BEGIN PRIVATE KEY", "BEGIN X")).is_err());
    }
}
