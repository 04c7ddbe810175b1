//! The names of kind URI in a certificate (RFC 5280 section 4.2.1.6), every one. webpki gives those that are text, and none
//! after a name of a kind that it does not know. A certificate with several could pass for one with a single name.

/// The tags that are looked for (X.690, and RFC 5280 sections 4.1 and 4.2.1.6).
const EXTENSIONS: u8 = 0xa3;
const URI: u8 = 0x86;
/// The bit of a tag whose content is elements. A URI has none, and one that is written so counts nevertheless.
const CONSTRUCTED: u8 = 0x20;
/// The name of subjectAltName, 2.5.29.17.
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

/// The tag and the content of an element.
type Element<'d> = (u8, &'d [u8]);

/// The names of kind URI, as far as they are text; None if the names of the certificate cannot be read.
pub(super) fn uri_names(certificate: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let signed = first(first(certificate)?)?;
    let Some((_, extensions)) = elements(signed)?.into_iter().find(|(tag, _)| *tag == EXTENSIONS) else {
        return Some(names);
    };
    for (_, extension) in elements(first(extensions)?)? {
        let parts = elements(extension)?;
        let ((_, name), (_, value)) = (parts.first()?, parts.last()?);
        if *name == SUBJECT_ALT_NAME {
            let uris = elements(first(value)?)?.into_iter().filter(|(tag, _)| tag & !CONSTRUCTED == URI);
            names.extend(uris.map(|(_, uri)| String::from_utf8_lossy(uri).into_owned()));
        }
    }
    Some(names)
}

/// The content of the first element.
fn first(mut der: &[u8]) -> Option<&[u8]> {
    take(&mut der).map(|(_, content)| content)
}

fn elements(mut der: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut found = Vec::new();
    while !der.is_empty() {
        found.push(take(&mut der)?);
    }
    Some(found)
}

/// Takes an element from the front. Tags of several bytes are nowhere in what is read here.
fn take<'d>(der: &mut &'d [u8]) -> Option<Element<'d>> {
    let (&tag, rest) = der.split_first().filter(|(tag, _)| **tag & 0x1f != 0x1f)?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *der = rest;
    Some((tag, content))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    use super::*;

    const WEB: &[u8] = b"spiffe://example.org/ns/shop/sa/web";
    const DNS: u8 = 0x82;

    /// A certificate with these names, each with the tag of its kind.
    fn certificate(names: &[(u8, &[u8])]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        let element = |tag: u8, content: &[u8]| {
            let length = u8::try_from(content.len()).expect("short");
            [&[tag, 0x81, length], content].concat()
        };
        let names: Vec<u8> = names.iter().flat_map(|(tag, name)| element(*tag, name)).collect();
        let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], element(0x30, &names));
        params.custom_extensions = vec![extension];
        params.self_signed(&KeyPair::generate().expect("a key")).expect("signed").der().to_vec()
    }

    fn count(names: &[(u8, &[u8])]) -> usize {
        uri_names(&certificate(names)).expect("names").len()
    }

    #[test]
    fn every_uri_counts_whether_it_is_text_and_whatever_is_before_it() {
        assert_eq!(uri_names(&certificate(&[(URI, WEB)])), Some(vec![String::from_utf8_lossy(WEB).into_owned()]));
        assert_eq!(count(&[(URI, WEB), (URI, b"\xff\xfe")]), 2);
        assert_eq!(count(&[(URI, b"\xff"), (URI, WEB)]), 2);
        assert_eq!(count(&[(URI, WEB), (0x9e, b"unknown"), (URI, WEB)]), 2);
        assert_eq!(count(&[(URI, WEB), (URI | CONSTRUCTED, WEB)]), 2);
        assert_eq!(count(&[(URI, b""), (URI, WEB)]), 2);
        assert_eq!(count(&[(DNS, b"a.internal"), (URI, WEB), (DNS, b"b.internal")]), 1);
        assert_eq!(count(&[(DNS, b"a.internal")]), 0);
        assert_eq!(uri_names(&certificate(&[(0x9f, b"long tag"), (URI, WEB)])), None);
        let plain = CertificateParams::default().self_signed(&KeyPair::generate().expect("a key")).expect("signed");
        assert_eq!(uri_names(plain.der()), Some(vec![]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64), at in 0..256_usize, byte: u8) {
            drop(uri_names(&bytes));
            let mut changed = certificate(&[(URI, WEB)]);
            if let Some(place) = changed.get_mut(at) {
                *place = byte;
            }
            drop(uri_names(&changed));
        }
    }
}
