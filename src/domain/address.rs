//! Addresses of clients, in the forms in which proxies and frameworks write them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The longest zone of an address (RFC 4007 section 11) that is read over.
const MAX_ZONE: usize = 32;

/// The address of a client. Forms that mean the same are equal: with a port, in brackets, or with a zone. So is an IPv4
/// address that is mapped (RFC 4291 section 2.5.5.2) or translated (RFC 6052 section 2.1, RFC 2765 section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// Reads one address; None for anything else, such as a list or a name.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let host = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']')?;
                if !(after.is_empty() || after.strip_prefix(':').is_some_and(is_port)) {
                    return None;
                }
                // Brackets are for IPv6 addresses.
                Some(host).filter(|host| host.contains(':'))?
            }
            None => match text.split_once(':') {
                Some((host, port)) if is_port(port) => host,
                _ => text,
            },
        };
        let ip = match host.split_once('%') {
            Some((ip, zone)) => IpAddr::V6(ip.parse().ok().filter(|_| is_zone(zone))?),
            None => host.parse().ok()?,
        };
        Some(Self(ipv4_within(ip.to_canonical()).map_or(ip.to_canonical(), IpAddr::V4)))
    }

    /// The address itself.
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// Network that belongs to one client: an IPv4 address, or the IPv6 network of 64 bits (RFC 4291 section 2.5.4).
    pub fn network(self) -> ClientNetwork {
        match self.0 {
            IpAddr::V4(_) => ClientNetwork(self.0),
            IpAddr::V6(ip) => ClientNetwork(IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64))),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A network whose addresses are taken for one client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientNetwork(IpAddr);

impl ClientNetwork {
    /// Bytes that no other network has.
    pub fn to_bytes(self) -> Vec<u8> {
        match self.0 {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().into_iter().take(8).collect(),
        }
    }
}

/// An IPv4 address, or an IPv6 network as in RFC 4291 section 2.3.
impl fmt::Display for ClientNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => ip.fmt(f),
            IpAddr::V6(ip) => write!(f, "{ip}/64"),
        }
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn is_zone(text: &str) -> bool {
    (1..=MAX_ZONE).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-%".contains(&b))
}

/// The IPv4 address that a translator has put into an IPv6 address.
fn ipv4_within(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else {
        return None;
    };
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        ClientAddress::parse(text).map(|address| address.to_string())
    }

    #[test]
    fn r57_an_address_is_the_same_in_each_of_its_forms() {
        for (address, forms) in [
            (
                "192.0.2.7",
                &[
                    "192.0.2.7",
                    " 192.0.2.7 ",
                    "192.0.2.7:4000",
                    "::ffff:192.0.2.7",
                    "[::ffff:c000:207]:443",
                    "64:ff9b::192.0.2.7",
                    "[64:ff9b::c000:207]",
                    "::ffff:0:192.0.2.7",
                ][..],
            ),
            (
                "2001:db8::1",
                &["2001:db8::1", "2001:DB8:0:0:0::1", "[2001:db8::1]", "[2001:db8::1]:65535", "2001:db8::1%eth0"],
            ),
            ("fe80::1", &["fe80::1%eth0", "[fe80::1%25eth0]:80", "fe80::1%2"]),
            ("::1", &["::1", "[::1]:0"]),
        ] {
            for form in forms {
                assert_eq!(read(form).as_deref(), Some(address), "{form}");
            }
        }
    }

    #[test]
    fn what_is_not_one_address_is_none() {
        for text in [
            "",
            " ",
            "unknown",
            "unix",
            "localhost",
            "_hidden",
            "192.0.2.7, 192.0.2.8",
            "192.0.2",
            "192.0.2.007",
            "192.0.2.7:",
            "192.0.2.7:65536",
            "192.0.2.7:+1",
            "[192.0.2.7]",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]443",
            "192.0.2.7%eth0",
            "fe80::1%",
            "fe80::1%a b",
            "2001:db8::1/64",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_network_is_one_clients() {
        let network = |text: &str| ClientAddress::parse(text).expect("an address").network();
        assert_eq!(network("2001:db8:0:1:2::3"), network("2001:db8:0:1:ffff::"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.7"), network("192.0.2.8"));
        assert_eq!(network("2001:db8:0:1:2::3").to_string(), "2001:db8:0:1::/64");
        assert_eq!(network("[::ffff:192.0.2.7]:1").to_string(), "192.0.2.7");
        assert_eq!(network("2001:db8:0:1:2::3").to_bytes(), [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1]);
    }
}
