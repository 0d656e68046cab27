//! Where an endpoint is: its base URL, to which paths are added before the query, and how a key is shown to it.

use secrecy::{ExposeSecret, SecretString};

use super::Error;
use crate::http::Url;

/// A base URL, taken apart.
#[derive(Debug, Clone)]
pub struct Address {
    /// Scheme, host and path, without a slash at the end: what paths are added to, and what may be shown.
    base: String,
    /// What follows a `?`: Azure's `api-version`, a gateway's key.
    query: Option<SecretString>,
    host: String,
    path: String,
    /// `user:password` of the URL.
    user: Option<SecretString>,
}

/// How the key is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyHeader {
    /// `Authorization: Bearer`.
    Bearer,
    /// `api-key`: Azure.
    ApiKey,
    /// Not at all: `Authorization` is taken by the URL's own user and password (RFC 7617).
    Basic,
}

impl Address {
    /// Takes a base URL apart. `api_version` is added to its query, unless it has one, as Azure wants it.
    pub fn new(base_url: &str, api_version: Option<&str>) -> Result<Self, Error> {
        let wrong = || {
            Error::Usage(format!(
                "OPENAI_BASE_URL {} is not an address; expected one such as http://localhost:8080/v1",
                shown(base_url)
            ))
        };
        let mut url = Url::parse(base_url.trim()).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(Error::Usage(
                "OPENAI_BASE_URL must begin with http:// or https://, such as http://localhost:8080/v1"
                    .to_owned(),
            ));
        }
        url.set_fragment(None);
        if let Some(version) = api_version
            && !url.query_pairs().any(|(name, _)| name == "api-version")
        {
            url.query_pairs_mut().append_pair("api-version", version);
        }
        let query = url.query().filter(|query| !query.is_empty()).map(SecretString::from);
        let part = |text: &str| percent_decoded(text);
        let user = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let pair = [part(url.username()), b":".to_vec(), part(url.password().unwrap_or_default())];
            SecretString::from(base64(&pair.concat()))
        });
        url.set_query(None);
        // Taking away the user and the password fails only on URLs without a host.
        let _ = (url.set_username(""), url.set_password(None));
        Ok(Self {
            base: url.as_str().trim_end_matches('/').to_owned(),
            query,
            host: url.host_str().unwrap_or_default().to_owned(),
            path: url.path().to_owned(),
            user,
        })
    }

    /// The URL of `path`, such as `/chat/completions` or `/files?limit=1`, below the base: for the client alone, it may hold
    /// secrets.
    pub(super) fn join(&self, path: &str) -> String {
        let mut joined = format!("{}{path}", self.base);
        if let Some(query) = &self.query {
            joined.push(if path.contains('?') { '&' } else { '?' });
            joined.push_str(query.expose_secret());
        }
        joined
    }

    /// The base URL without user, password and query.
    pub fn shown(&self) -> &str {
        &self.base
    }

    /// The URL's own user and password, in base64 as `Authorization: Basic` takes them.
    pub(super) fn basic(&self) -> Option<&SecretString> {
        self.user.as_ref()
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        let ip = self.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        self.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether it is an Azure resource, or a gateway to one, that answers below a deployment's path.
    pub fn is_azure(&self) -> bool {
        [".azure.com", ".azure-api.net"].iter().any(|end| self.host.ends_with(end)) || self.is_deployment()
    }

    /// Whether its path is that of one deployment of Azure's, below which there is nothing but completions.
    pub(super) fn is_deployment(&self) -> bool {
        self.path.contains("/openai/deployments/")
    }

    /// How the key is shown there.
    pub(super) fn key_header(&self) -> KeyHeader {
        if self.is_azure() {
            KeyHeader::ApiKey
        } else if self.user.is_some() {
            KeyHeader::Basic
        } else {
            KeyHeader::Bearer
        }
    }
}

/// The bytes that `%XX` stand for; what is no such escape stays.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (byte, digit(0), digit(1)) {
            bytes.extend(u8::try_from(high * 16 + low));
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    bytes
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= group.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}

/// A URL without user, password and query, be it well-formed or not.
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "(not a URL)".to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (authority, path) =
        rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Address {
        Address::new(url, None).unwrap()
    }

    #[test]
    fn a_path_goes_before_the_query() {
        let base = "https://x.openai.azure.com/openai/deployments/my-luna";
        for url in [format!("{base}?api-version=2024-10-21"), format!("{base}/?api-version=2024-10-21#top")] {
            assert_eq!(
                address(&url).join("/chat/completions"),
                format!("{base}/chat/completions?api-version=2024-10-21")
            );
        }
        assert_eq!(address("http://localhost:8080/v1//").join("/models"), "http://localhost:8080/v1/models");
        assert_eq!(address("http://localhost:8080").join("/models"), "http://localhost:8080/models");
    }

    #[test]
    fn an_api_version_is_added_once() {
        let joined = |url: &str| Address::new(url, Some("2024-10-21")).unwrap().join("/m");
        assert_eq!(joined("https://h/v1"), "https://h/v1/m?api-version=2024-10-21");
        assert_eq!(joined("https://h/v1?a=b"), "https://h/v1/m?a=b&api-version=2024-10-21");
        let versioned = Address::new("https://h/v1", Some("preview")).unwrap();
        assert_eq!(versioned.join("/m?limit=1"), "https://h/v1/m?limit=1&api-version=preview");
        assert_eq!(joined("https://h/v1?api-version=preview"), "https://h/v1/m?api-version=preview");
    }

    #[test]
    fn nothing_secret_is_shown() {
        let address = address("https://me:pw@host:8/v1/?key=k#f");
        assert_eq!(address.shown(), "https://host:8/v1");
        let debug = format!("{address:?}");
        assert!(!debug.contains("pw") && !debug.contains("key=k"), "{debug}");
        assert_eq!(shown("https://me:pw@host:8/v1?key=k#f"), "https://host:8/v1");
        assert_eq!(shown("nonsense"), "(not a URL)");
    }

    #[test]
    fn the_user_of_a_url_becomes_a_header() {
        let basic = |url: &str| address(url).basic().map(|basic| basic.expose_secret().to_owned());
        assert_eq!(basic("http://h/v1"), None);
        // RFC 7617's own example, then what has to be escaped in a URL.
        assert_eq!(basic("http://Aladdin:open%20sesame@h/v1").unwrap(), "QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(basic("http://me:p%40w@h/v1").unwrap(), "bWU6cEB3");
        assert_eq!(basic("http://test:123%C2%A3@h/v1").unwrap(), "dGVzdDoxMjPCow==");
        assert_eq!(address("http://me:pw@h/v1").join("/models"), "http://h/v1/models");
    }

    #[test]
    fn azure_takes_the_key_in_a_header_of_its_own() {
        for (url, header) in [
            ("https://x.openai.azure.com/openai/v1", KeyHeader::ApiKey),
            ("https://x.services.ai.azure.com/models", KeyHeader::ApiKey),
            ("https://gate.azure-api.net/llm", KeyHeader::ApiKey),
            ("https://llm.example/openai/deployments/luna", KeyHeader::ApiKey),
            ("https://api.openai.com/v1", KeyHeader::Bearer),
            ("https://azure.com.example/v1", KeyHeader::Bearer),
            ("https://notazure.com/v1", KeyHeader::Bearer),
            ("https://me:pw@llm.example/v1", KeyHeader::Basic),
        ] {
            assert_eq!(address(url).key_header(), header, "{url}");
        }
    }

    #[test]
    fn only_loopback_is_this_machine() {
        for url in [
            "http://localhost:8080/v1",
            "http://127.0.0.1/v1",
            "http://[::1]:80/v1",
            "http://a:b@127.3.2.1:1/v1",
        ] {
            assert!(address(url).is_loopback(), "{url}");
        }
        for url in [
            "https://api.openai.com/v1",
            "http://192.168.0.1/v1",
            "http://localhost.example/v1",
            "http://127.0.0.1@evil.example/v1",
        ] {
            assert!(!address(url).is_loopback(), "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_said_without_its_secrets() {
        for url in ["file:///etc/passwd", "http://", "ftp://me:pw@h/v1", "http://me:pw@h:99999/v1"] {
            let error = Address::new(url, None).unwrap_err().to_string();
            assert!(error.contains("OPENAI_BASE_URL") && !error.contains("pw"), "{error}");
        }
    }
}
