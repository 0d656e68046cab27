//! Addresses: what is quoted in them, which server they belong to, and the next page that a `Link` header names.

use crate::http::{HeaderMap, Url, header, plain};

/// Hosts that a mirror may name in place of itself: it passes the Hub's own headers on.
const HUB_HOSTS: [&str; 2] = ["huggingface.co", "hf.co"];

/// Text as one segment of a path: all but RFC 3986's unreserved characters is escaped, `/` too.
pub(super) fn segment(text: &str) -> String {
    quoted(text, |_| false)
}

/// Text as a path: like [`segment`], but `/` stays. With escaped slashes the Hub counts a request for a file into the
/// small limit for pages.
pub(super) fn path(text: &str) -> String {
    quoted(text, |byte| byte == b'/')
}

fn quoted(text: &str, also: impl Fn(u8) -> bool) -> String {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also(byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    out
}

/// Text with `%XX` replaced; none if that is not UTF-8. A `%` without two hexadecimal digits stays.
pub(super) fn unquoted(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
        if let (b'%', Some(high), Some(low)) = (byte, digit(at + 1), digit(at + 2)) {
            out.extend(u8::try_from(high * 16 + low));
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

/// The Hub's address, or what is wrong with it.
pub(super) fn endpoint(text: &str) -> Result<Url, String> {
    let wrong = "is no address of a Hub such as https://huggingface.co";
    let url = Url::parse(text).map_err(|_| wrong.to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a name or password does not belong into the address: use HF_TOKEN".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong.to_owned());
    }
    Ok(url)
}

/// Whether both addresses are of one server: scheme, host and port (RFC 6454).
pub(super) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// The server of an address, for messages: its host, and its port if that is not the usual one.
pub(super) fn host(url: &Url) -> String {
    let host = plain(url.host_str().unwrap_or("a server without a name"));
    url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
}

/// The next page of a list at `page`, from the header `Link: <URL>; rel="next"` (RFC 8288). Where a mirror passes on
/// the Hub's own address it is rewritten to the endpoint; an address anywhere else is an error, which is told.
pub(super) fn next_page(headers: &HeaderMap, page: &Url, endpoint: &Url) -> Result<Option<Url>, String> {
    let mut links = headers.get_all(header::LINK).iter().filter_map(|value| value.to_str().ok());
    let Some(target) = links.find_map(next_link) else { return Ok(None) };
    let next = page.join(target).map_err(|_| "the address of the next page is not valid".to_owned())?;
    let next = if same_origin(&next, endpoint) {
        next
    } else if next.host_str().is_some_and(|host| HUB_HOSTS.contains(&host)) {
        let base = endpoint.as_str().trim_end_matches('/');
        let query = next.query().map(|query| format!("?{query}")).unwrap_or_default();
        Url::parse(&format!("{base}{}{query}", next.path()))
            .map_err(|_| "the address of the next page is not valid".to_owned())?
    } else {
        return Err(format!("the next page lies on another server, {}", host(&next)));
    };
    if next == *page {
        return Err("the next page is the same page".to_owned());
    }
    Ok(Some(next))
}

/// The target of the link whose relation is `next`, as written.
fn next_link(value: &str) -> Option<&str> {
    let mut rest = value;
    loop {
        let (target, after) = rest.split_once('<')?.1.split_once('>')?;
        // Parameters go on to the comma before the next link; a comma inside quotes is theirs.
        let mut quotes = false;
        let end = after.find(|c| {
            quotes ^= c == '"';
            c == ',' && !quotes
        });
        let parameters = &after[..end.unwrap_or(after.len())];
        let is_next =
            parameters.split(';').filter_map(|parameter| parameter.split_once('=')).any(|(name, value)| {
                let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
                name.trim().eq_ignore_ascii_case("rel")
                    && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
            });
        if is_next {
            return Some(target);
        }
        rest = &after[end?..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn next(link: &str) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::LINK, link.parse().unwrap());
        let page = url("https://hub.test/api/datasets/a/b/tree/main?recursive=true");
        next_page(&headers, &page, &url("https://hub.test")).map(|next| next.map(String::from))
    }

    #[test]
    fn a_revision_is_one_segment_and_a_path_keeps_its_slashes() {
        assert_eq!(segment("refs/convert/parquet"), "refs%2Fconvert%2Fparquet");
        assert_eq!(path("data/a b#1?%é.csv"), "data/a%20b%231%3F%25%C3%A9.csv");
        assert_eq!(unquoted("a%20b%2Fc%zz%").as_deref(), Some("a b/c%zz%"));
        assert_eq!(unquoted("%ff"), None);
    }

    #[test]
    fn the_next_page_is_the_link_of_that_relation() {
        let page = "https://hub.test/api/x?cursor=a,b";
        assert_eq!(next(&format!("<{page}>; rel=\"next\"")), Ok(Some(page.to_owned())));
        assert_eq!(
            next(&format!("<https://e.test/>; rel=prev; t=\"a,b\", <{page}>; rel=next")),
            Ok(Some(page.to_owned()))
        );
        assert_eq!(
            next("</api/x?c=1>; title=\"<\"; REL=\"last next\"").unwrap().unwrap(),
            "https://hub.test/api/x?c=1"
        );
        assert_eq!(next("<https://hub.test/x>; rel=\"xet-auth\""), Ok(None));
        assert_eq!(next("nonsense"), Ok(None));
    }

    #[test]
    fn a_mirror_that_names_the_hub_is_asked_itself() {
        let mut headers = HeaderMap::new();
        headers.insert(header::LINK, "<https://huggingface.co/api/x?c=1>; rel=\"next\"".parse().unwrap());
        let mirror = url("https://mirror.test/hf");
        let next = next_page(&headers, &url("https://mirror.test/hf/api/x"), &mirror).unwrap().unwrap();
        assert_eq!(next.as_str(), "https://mirror.test/hf/api/x?c=1");
    }

    #[test]
    fn a_next_page_elsewhere_or_the_same_again_is_an_error() {
        assert!(next("<https://evil.test/api>; rel=\"next\"").unwrap_err().contains("evil.test"));
        assert!(next("<http://hub.test/api>; rel=\"next\"").is_err());
        assert!(next("</api/datasets/a/b/tree/main?recursive=true>; rel=\"next\"").is_err());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let hub = url("https://hub.test");
        assert!(same_origin(&hub, &url("https://HUB.test:443/x")));
        for other in ["http://hub.test", "https://hub.test:444", "https://sub.hub.test"] {
            assert!(!same_origin(&hub, &url(other)), "{other}");
        }
    }

    proptest! {
        #[test]
        fn quoting_can_be_undone(text in ".*") {
            prop_assert_eq!(unquoted(&segment(&text)), Some(text.clone()));
            prop_assert_eq!(unquoted(&path(&text)), Some(text));
        }

        #[test]
        fn no_link_header_panics(value in "[<>;,=\"a-z /:%]{0,60}") {
            let _ = next(&value);
        }
    }
}
