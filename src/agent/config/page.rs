//! Where the agent's page is served.

use super::{Lookup, SettingError};
use std::net::SocketAddr;

const KEY: &str = "PAGE_ADDRESS";
const DEFAULT: &str = "127.0.0.1:15015";
const NOWHERE: &str = "off";

/// A loopback address; None for `off`. Whoever is elsewhere comes by port-forward, where the API server knows who
/// they are: a page on the pod's own address would be open to every pod of the cluster.
pub(super) fn read(lookup: Lookup<'_>) -> Result<Option<SocketAddr>, SettingError> {
    let value = lookup(KEY).unwrap_or_else(|| DEFAULT.to_owned());
    match value.trim() {
        "" | NOWHERE => Ok(None),
        given => match given.parse::<SocketAddr>() {
            Ok(address) if address.ip().to_canonical().is_loopback() => Ok(Some(address)),
            _ => {
                let allowed = "off, or a loopback address with a port, such as 127.0.0.1:15015; port 0 is any free one";
                Err(SettingError { key: KEY, value: value.clone(), allowed })
            }
        },
    }
}

pub(super) fn describe(page: Option<SocketAddr>) -> String {
    page.map_or_else(|| NOWHERE.to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(value: Option<&str>) -> Result<String, String> {
        let read = read(&|_| value.map(str::to_owned));
        read.map(describe).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_on_loopback_or_nowhere() {
        assert_eq!(given(None), Ok("127.0.0.1:15015".to_owned()));
        for (value, means) in [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:80", "[::1]:80"), ("off", "off"), ("", "off")] {
            assert_eq!(given(Some(value)), Ok(means.to_owned()));
        }
    }

    #[test]
    fn any_other_address_is_named_with_what_is_allowed() {
        for value in ["0.0.0.0:15015", "[::]:15015", "10.0.0.1:1", "[::ffff:10.0.0.1]:1", "localhost:1", "15015", "on"]
        {
            let error = given(Some(value)).unwrap_err();
            assert!(error.starts_with(&format!("PAGE_ADDRESS={value:?} cannot be used")), "{error}");
            assert!(error.contains("a loopback address with a port"), "{error}");
        }
    }
}
