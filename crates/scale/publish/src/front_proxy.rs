//! Who may ask: the aggregation layer of an API server, known by a client
//! certificate, which names the user it asks for in a header.

use crate::config::FrontProxy;
use http::{HeaderMap, StatusCode};

/// The header in which the aggregation layer names the user it asks for.
const USER: &str = "x-remote-user";

/// What a connection showed of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peer {
    /// No certificate.
    None,
    /// A certificate of the authority; its common name, if it has one.
    Certified(Option<String>),
}

impl Peer {
    /// From a certificate (DER) that the handshake has verified.
    pub(crate) fn certified(certificate: &[u8]) -> Self {
        Self::Certified(common_name(certificate))
    }
}

/// Who is let in.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Everybody who can reach the address.
    Anybody,
    /// The front proxy, by one of these common names; by any if there are none.
    FrontProxy(Vec<String>),
}

impl Admission {
    pub(crate) fn new(proxy: Option<FrontProxy>) -> Self {
        proxy.map_or(Self::Anybody, |proxy| Self::FrontProxy(proxy.allowed_names))
    }

    /// Whether a request may be answered.
    ///
    /// # Errors
    /// Status and reason if not.
    pub(crate) fn admit(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
        let Self::FrontProxy(allowed) = self else {
            return Ok(());
        };
        let Peer::Certified(name) = peer else {
            let why = "no client certificate was shown; ask through the API server (kubectl get --raw), whose \
                       aggregation layer has one";
            return Err((StatusCode::UNAUTHORIZED, why.to_owned()));
        };
        if !allowed.is_empty() && !name.as_ref().is_some_and(|name| allowed.contains(name)) {
            let why = format!(
                "the client certificate's common name {:?} is none of the allowed ones ({})",
                name.as_deref().unwrap_or_default(),
                allowed.join(", ")
            );
            return Err((StatusCode::FORBIDDEN, why));
        }
        if headers.get(USER).is_none_or(http::HeaderValue::is_empty) {
            let why = "the request names no user (X-Remote-User), as the aggregation layer would";
            return Err((StatusCode::UNAUTHORIZED, why.to_owned()));
        }
        Ok(())
    }
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `[0]`, the explicit version in front of a certificate's serial number.
const VERSION: u8 = 0xa0;
/// 2.5.4.3, encoded.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The last common name in the subject of a certificate (X.509, RFC 5280
/// section 4.1), if it has one in UTF-8 or a subset of it. Signatures and
/// validity are not looked at: the handshake did that.
fn common_name(certificate: &[u8]) -> Option<String> {
    let (mut outer, _) = value(certificate, SEQUENCE)?;
    let (mut fields, _) = value(outer, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // Serial number, signature algorithm, issuer, validity; then the subject.
    for _ in 0..4 {
        fields = element(fields)?.2;
    }
    let mut name = None;
    (outer, _) = value(fields, SEQUENCE)?;
    while !outer.is_empty() {
        let (mut set, rest) = value(outer, SET)?;
        outer = rest;
        while !set.is_empty() {
            let (attribute, rest) = value(set, SEQUENCE)?;
            set = rest;
            let (kind, text) = value(attribute, OBJECT_IDENTIFIER)?;
            if kind == COMMON_NAME {
                name = std::str::from_utf8(element(text)?.1).ok().map(str::to_owned);
            }
        }
    }
    name
}

/// The contents of an element that must have this tag, and what follows it.
fn value(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, contents, rest) = element(bytes)?;
    (tag == wanted).then_some((contents, rest))
}

/// One DER element: its tag, its contents, what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, bytes) = bytes.split_first()?;
    let (&first, mut bytes) = bytes.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let digits = usize::from(first & 0x7f);
        if digits == 0 || digits > 4 {
            return None;
        }
        let (length, rest) = bytes.split_at_checked(digits)?;
        bytes = rest;
        length
            .iter()
            .fold(0, |length, digit| (length << 8) | usize::from(*digit))
    };
    let (contents, rest) = bytes.split_at_checked(length)?;
    Some((tag, contents, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn certificate(names: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "kubernetes");
        for name in names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        made.der().to_vec()
    }

    #[test]
    fn the_common_name_of_a_certificate_is_read() {
        let long = "a".repeat(60);
        for name in ["front-proxy-client", "aggregator", "ä", &long] {
            assert_eq!(common_name(&certificate(&[name])).as_deref(), Some(name));
        }
        assert_eq!(common_name(&certificate(&[])), None);
    }

    #[test]
    fn only_the_front_proxy_is_let_in_and_only_for_a_user_it_names() {
        let with_user: HeaderMap = [(
            http::HeaderName::from_static(USER),
            HeaderValue::from_static("system:kube-aggregator"),
        )]
        .into_iter()
        .collect();
        let none = HeaderMap::new();
        let named = |name: &str| Peer::Certified(Some(name.to_owned()));
        let any = Admission::FrontProxy(Vec::new());
        let one = Admission::FrontProxy(vec!["front-proxy-client".to_owned()]);
        for (admission, peer, headers, refused) in [
            (&Admission::Anybody, Peer::None, &none, None),
            (&any, named("whoever"), &with_user, None),
            (&one, named("front-proxy-client"), &with_user, None),
            (&any, Peer::Certified(None), &with_user, None),
            (&one, Peer::None, &with_user, Some(StatusCode::UNAUTHORIZED)),
            (&one, named("kubelet"), &with_user, Some(StatusCode::FORBIDDEN)),
            (&one, Peer::Certified(None), &with_user, Some(StatusCode::FORBIDDEN)),
            (&one, named("front-proxy-client"), &none, Some(StatusCode::UNAUTHORIZED)),
        ] {
            let admitted = admission.admit(&peer, headers);
            assert_eq!(
                admitted.err().map(|(status, _)| status),
                refused,
                "{admission:?} {peer:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = common_name(&bytes);
        }

        #[test]
        fn a_damaged_certificate_does_not_either(at in 0usize..400, to in any::<u8>(), cut in 0usize..400) {
            // One of a fixed shape, so that damage hits every field in turn.
            let mut bytes = certificate(&["front-proxy-client"]);
            let (at, cut) = (at % bytes.len(), cut % bytes.len());
            bytes[at] = to;
            let _ = common_name(&bytes);
            let _ = common_name(&bytes[..cut]);
        }
    }
}
