//! Networks of peers, by address and length of their prefix (CIDR, RFC 4632).

use std::net::IpAddr;

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, `2001:db8::/32`, or one address. None also if bits are set beyond the prefix: that is a slip.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().ok()?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let digits = |prefix: &str| prefix.bytes().all(|b| b.is_ascii_digit()).then(|| prefix.parse().ok()).flatten();
        let prefix = prefix.map_or(Some(most), digits).filter(|prefix| *prefix <= most)?;
        let network = Self { first, prefix };
        (network.masked(first) == first).then_some(network)
    }

    /// True if an address is in the network. An IPv4 address that is mapped to IPv6 is the IPv4 address.
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && self.masked(address) == self.first
    }

    /// The address without the bits beyond the prefix.
    fn masked(self, address: IpAddr) -> IpAddr {
        let beyond = u32::from(self.prefix);
        match address {
            IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() & !u32::MAX.checked_shr(beyond).unwrap_or(0)).into()),
            IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::MAX.checked_shr(beyond).unwrap_or(0)).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.128/25", "192.0.2.255", "192.0.2.127"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("::1/128", "::1", "::2"),
        ] {
            let network = Network::parse(network).expect(network);
            let contains = |address: &str| network.contains(address.parse().expect("an address"));
            assert_eq!((contains(inside), contains(outside)), (true, false), "{network:?}");
        }
    }

    #[test]
    fn what_is_no_network_is_none() {
        for text in
            ["", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.1/8", "::/129", "10.0.0.0/+8", "10.0.0.0/8/8", "host"]
        {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
