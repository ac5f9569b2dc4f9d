//! Which address families a namespace is given rules for, told from its addresses.

use crate::domain::failure::Classify;
use crate::domain::step::ErrorType;
use std::fmt;
use std::net::IpAddr;

/// The namespace has no address from which its family could be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAddress;

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no valid local IP address found: the pod's namespace has only loopback and link-local addresses, and the CNI plugins before istio-cni must assign another one: check them, and their order in the CNI configuration list")
    }
}

impl std::error::Error for NoAddress {}

impl Classify for NoAddress {
    fn error_type(&self) -> ErrorType {
        ErrorType::AddressMissing
    }
}

/// Whether IPv6 rules are made for a namespace with these addresses, in the kernel's order.
///
/// Loopback and link-local addresses do not count. Without `dual_stack` the first address decides;
/// with it any IPv6 address does.
pub fn wants_ipv6(addresses: &[IpAddr], dual_stack: bool) -> Result<bool, NoAddress> {
    let mut usable = addresses.iter().filter(|address| is_usable(address)).peekable();
    let first = *usable.peek().ok_or(NoAddress)?;
    Ok(if dual_stack { usable.any(IpAddr::is_ipv6) } else { first.is_ipv6() })
}

fn is_usable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified() && v4.octets()[..3] != [224, 0, 0]
        }
        IpAddr::V6(v6) => {
            let head = v6.segments()[0];
            !v6.is_loopback() && !v6.is_unspecified() && head & 0xffc0 != 0xfe80 && head & 0xff0f != 0xff02
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv6(addresses: &[&str], dual_stack: bool) -> Result<bool, NoAddress> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        wants_ipv6(&addresses, dual_stack)
    }

    #[test]
    fn the_first_usable_address_decides() {
        assert_eq!(ipv6(&["127.0.0.1", "10.1.0.5", "::1", "fd00::5"], false), Ok(false));
        assert_eq!(ipv6(&["127.0.0.1", "169.254.1.1", "::1", "fe80::1", "fd00::5"], false), Ok(true));
    }

    #[test]
    fn with_dual_stack_any_ipv6_address_will_do() {
        assert_eq!(ipv6(&["10.1.0.5", "fe80::1", "fd00::5"], true), Ok(true));
        assert_eq!(ipv6(&["10.1.0.5", "fe80::1"], true), Ok(false));
        assert_eq!(ipv6(&["fd00::5"], true), Ok(true));
    }

    #[test]
    fn loopback_and_link_local_addresses_are_none() {
        for dual_stack in [false, true] {
            assert_eq!(ipv6(&[], dual_stack), Err(NoAddress));
            assert_eq!(
                ipv6(&["127.0.0.6", "::1", "fe80::1", "febf::1", "169.254.0.1", "224.0.0.1"], dual_stack),
                Err(NoAddress)
            );
        }
        assert_eq!(ipv6(&["ff02::1", "fec0::1"], false), Ok(true));
    }
}
