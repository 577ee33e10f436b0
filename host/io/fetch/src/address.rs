//! Which addresses are private, and blocks of addresses (CIDR).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// A block of addresses (RFC 4632 §3.1, RFC 4291 §2.3). Bits behind the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Why a text is not a block of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CidrError {
    /// No address before the slash.
    #[error("{0:?} does not begin with an IP address; write it like 192.168.0.0/16 or fd00::/8")]
    Address(String),
    /// No number of bits, or too many.
    #[error("{0:?} has no prefix length that fits; it is at most 32 for IPv4 and 128 for IPv6")]
    Prefix(String),
}

impl Cidr {
    /// Whether an address lies in the block. An IPv4 address may come in its IPv6-mapped form.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()) & mask_v4(self.prefix) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()) & mask_v6(self.prefix) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// `address/bits`, or an address alone, which is a block of one. Bits behind the prefix are cleared.
    fn from_str(text: &str) -> Result<Cidr, CidrError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| CidrError::Address(text.to_owned()))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match bits {
            None => most,
            Some(bits) => bits
                .trim()
                .parse()
                .ok()
                .filter(|prefix| *prefix <= most)
                .ok_or_else(|| CidrError::Prefix(text.to_owned()))?,
        };
        let network = match address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & mask_v4(prefix)).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & mask_v6(prefix)).into(),
        };
        Ok(Cidr { network, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

/// Whether an address is anything but a public unicast address: of this machine, of a private network, of the link, of
/// many, of documentation, of a cloud's metadata service, or an IPv6 form that leads to such an IPv4 address.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

/// The IANA registry of special-purpose IPv4 addresses (RFC 6890), as network, bits, and multicast and up.
const SPECIAL_V4: [([u8; 4], u8); 16] = [
    ([0, 0, 0, 0], 8),        // this network, RFC 791 §3.2
    ([10, 0, 0, 0], 8),       // private use, RFC 1918
    ([100, 64, 0, 0], 10),    // shared by carriers, RFC 6598
    ([127, 0, 0, 0], 8),      // loopback, RFC 1122 §3.2.1.3
    ([168, 63, 129, 16], 32), // a cloud's own host, looks public and is not
    ([169, 254, 0, 0], 16),   // link-local, RFC 3927; metadata services
    ([172, 16, 0, 0], 12),    // private use, RFC 1918
    ([192, 0, 0, 0], 24),     // protocol assignments, RFC 6890 §2.1
    ([192, 0, 2, 0], 24),     // documentation, RFC 5737
    ([192, 88, 99, 0], 24),   // relays of 6to4, RFC 7526
    ([192, 168, 0, 0], 16),   // private use, RFC 1918
    ([198, 18, 0, 0], 15),    // benchmarks, RFC 2544
    ([198, 51, 100, 0], 24),  // documentation, RFC 5737
    ([203, 0, 113, 0], 24),   // documentation, RFC 5737
    ([224, 0, 0, 0], 4),      // multicast, RFC 5771
    ([240, 0, 0, 0], 4),      // reserved and broadcast, RFC 1112 §4, RFC 919 §7
];

fn is_private_v4(address: Ipv4Addr) -> bool {
    SPECIAL_V4
        .iter()
        .any(|(network, prefix)| (u32::from_be_bytes(*network) ^ address.to_bits()) & mask_v4(*prefix) == 0)
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    match s {
        // IPv4-mapped (RFC 4291 §2.5.5.2), translated (RFC 2765 §2.1) and NAT64 (RFC 6052 §2.1).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            is_private_v4(embedded(s[6], s[7]))
        }
        // 6to4, RFC 3056 §2.
        [0x2002, ..] => is_private_v4(embedded(s[1], s[2])),
        // Teredo, benchmarks, ORCHID and other protocol assignments, RFC 2928.
        [0x2001, second, ..] if second < 0x200 => true,
        // Documentation, RFC 3849 and RFC 9637.
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => true,
        // All that is global unicast lies in 2000::/3 (RFC 4291 §2.4); unspecified, loopback, IPv4-compatible,
        // local-use NAT64, discard-only, unique-local, link-local, site-local and multicast addresses do not.
        _ => s[0] >> 13 != 0b001,
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_private_addresses_from_public_ones() {
        let private = "0.0.0.0 0.1.2.3 10.0.0.0 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 \
            127.255.255.254 168.63.129.16 169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.7 \
            192.88.99.1 192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.9 203.0.113.200 224.0.0.1 \
            239.255.255.250 240.0.0.1 255.255.255.255 \
            :: ::1 ::ffff:127.0.0.1 ::ffff:10.1.2.3 ::ffff:169.254.169.254 ::127.0.0.1 ::8.8.8.8 ::ffff:0:192.168.1.1 \
            64:ff9b::10.0.0.1 64:ff9b::7f00:1 64:ff9b:1::8.8.8.8 100::1 2001::1 2001:0:1:2:3:4:5:6 2001:2::1 2001:10::1 \
            2001:20::1 2001:db8::1 2001:db8:ffff::1 2002:7f00:1:: 2002:a00:1::1 2002:c0a8:101::5 2002:a9fe:a9fe:: \
            3fff::1 3fff:fff::1 5f00::1 fc00::1 fd00:ec2::254 fdff::1 fe80::1 febf::1 fec0::1 ff02::1 ff0e::1 4000::1";
        let public = "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 \
            168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.1 192.0.3.1 \
            192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.101.1 203.0.112.1 203.0.114.1 223.255.255.255 \
            ::ffff:8.8.8.8 ::ffff:0:8.8.8.8 64:ff9b::8.8.8.8 2001:200::1 2001:4860:4860::8888 2002:808:808::1 \
            2003::1 2606:4700:4700::1111 2a00:1450::1 3fff:1000::1 3ffe::1";
        for (addresses, expected) in [(private, true), (public, false)] {
            for text in addresses.split_whitespace() {
                let address: IpAddr = text.parse().unwrap();
                assert_eq!(is_private(address), expected, "{text}");
            }
        }
    }

    #[test]
    fn blocks_contain_what_begins_alike() {
        let check = |block: &str, address: &str, expected: bool| {
            let contains = block.parse::<Cidr>().unwrap().contains(address.parse().unwrap());
            assert_eq!(contains, expected, "{block} {address}");
        };
        check("192.168.0.0/16", "192.168.255.1", true);
        check("192.168.0.0/16", "::ffff:192.168.255.1", true);
        check("192.168.0.0/16", "192.169.0.0", false);
        check("192.168.0.0/16", "fd00::1", false);
        check("10.1.2.3", "10.1.2.3", true);
        check("10.1.2.3", "10.1.2.4", false);
        check("0.0.0.0/0", "255.255.255.255", true);
        check("0.0.0.0/0", "::1", false);
        check("fd00::/8", "fdff::1", true);
        check("fd00::/8", "fc00::1", false);
        check("::/0", "fe80::1", true);
        check("::1/128", "::1", true);
        check("10.0.0.0/31", "10.0.0.1", true);
        check("10.0.0.0/31", "10.0.0.2", false);
    }

    #[test]
    fn blocks_are_read_and_written() {
        let check = |text: &str, expected: Result<&str, CidrError>| {
            let read = text.parse::<Cidr>().map(|block| block.to_string());
            assert_eq!(read, expected.map(str::to_owned), "{text}");
        };
        check("10.1.2.3/8", Ok("10.0.0.0/8"));
        check("10.1.2.3", Ok("10.1.2.3/32"));
        check("fd12:3456::1/8", Ok("fd00::/8"));
        check("::1", Ok("::1/128"));
        check("nas.local/8", Err(CidrError::Address("nas.local/8".into())));
        check("", Err(CidrError::Address("".into())));
        check("10.0.0.0/33", Err(CidrError::Prefix("10.0.0.0/33".into())));
        check("10.0.0.0/", Err(CidrError::Prefix("10.0.0.0/".into())));
        check("::/129", Err(CidrError::Prefix("::/129".into())));
        check("10.0.0.0/-1", Err(CidrError::Prefix("10.0.0.0/-1".into())));
    }
}
