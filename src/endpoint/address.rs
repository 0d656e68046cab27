//! Where an endpoint is: its base URL, to which paths are added before the query, and how a key is shown to it.

use secrecy::{ExposeSecret, SecretString};

use super::Error;
use crate::http::Url;

/// A base URL, taken apart.
#[derive(Debug, Clone)]
pub struct Address {
    /// Scheme, user, host and path, without a slash at the end: what paths are added to. The client makes a header of
    /// the user and the password.
    base: SecretString,
    /// Scheme, host and path: what may be shown.
    shown: String,
    /// What follows a `?`: Azure's `api-version`, a gateway's key.
    query: Option<SecretString>,
    host: String,
    path: String,
    /// Whether it has a user or a password of its own.
    has_user: bool,
}

/// How the key is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyHeader {
    /// `Authorization: Bearer`.
    Bearer,
    /// `api-key`: Azure.
    ApiKey,
    /// Not at all: the URL has a user and a password of its own, and there is one `Authorization`.
    InTheUrl,
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
        let mut base = url.clone();
        base.set_query(None);
        let trimmed = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
        let secret = SecretString::from(trimmed(&base));
        let has_user = !base.username().is_empty() || base.password().is_some();
        // Setting no user and no password fails only on URLs without a host.
        let _ = (base.set_username(""), base.set_password(None));
        Ok(Self {
            base: secret,
            shown: trimmed(&base),
            query,
            host: url.host_str().unwrap_or_default().to_owned(),
            path: url.path().to_owned(),
            has_user,
        })
    }

    /// The URL of `path`, such as `/chat/completions`, below the base: for the client alone, it may hold secrets.
    pub(super) fn join(&self, path: &str) -> String {
        let mut joined = format!("{}{path}", self.base.expose_secret());
        if let Some(query) = &self.query {
            joined.push('?');
            joined.push_str(query.expose_secret());
        }
        joined
    }

    /// The base URL without user, password and query.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        let ip = self.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        self.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether it is an Azure resource, or a gateway to one, that answers below a deployment's path.
    pub fn is_azure(&self) -> bool {
        [".azure.com", ".azure-api.net"].iter().any(|end| self.host.ends_with(end))
            || self.path.contains("/openai/deployments/")
    }

    /// How the key is shown there.
    pub(super) fn key_header(&self) -> KeyHeader {
        if self.is_azure() {
            KeyHeader::ApiKey
        } else if self.has_user {
            KeyHeader::InTheUrl
        } else {
            KeyHeader::Bearer
        }
    }
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
    fn azure_takes_the_key_in_a_header_of_its_own() {
        for (url, header) in [
            ("https://x.openai.azure.com/openai/v1", KeyHeader::ApiKey),
            ("https://x.services.ai.azure.com/models", KeyHeader::ApiKey),
            ("https://gate.azure-api.net/llm", KeyHeader::ApiKey),
            ("https://llm.example/openai/deployments/luna", KeyHeader::ApiKey),
            ("https://api.openai.com/v1", KeyHeader::Bearer),
            ("https://azure.com.example/v1", KeyHeader::Bearer),
            ("https://notazure.com/v1", KeyHeader::Bearer),
            ("https://me:pw@llm.example/v1", KeyHeader::InTheUrl),
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
