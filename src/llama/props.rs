//! `GET /props`: what a llama.cpp server says of itself.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::http::header::AUTHORIZATION;
use crate::http::{Client, HeaderMap, HeaderValue};

/// What a llama.cpp server says of itself; each of it is left out by some version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Props {
    /// The name under which it answers.
    pub alias: Option<String>,
    /// Questions that it answers at once; more wait in its queue.
    pub slots: Option<usize>,
    /// Tokens that one question may take, prompt and answer together.
    pub context: Option<u64>,
    /// Whether the model's chat template shows functions to the model.
    pub calls_functions: Option<bool>,
}

/// Asks the server at `origin` (without `/v1`) for its properties; none where it is no llama.cpp.
pub async fn ask(client: &Client, origin: &str, key: Option<&SecretString>) -> Option<Props> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).ok()?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let reply = client.get(&format!("{origin}/props"), headers).await.ok()?;
    if !reply.status.is_success() {
        return None;
    }
    Props::parse(&reply.body)
}

impl Props {
    /// Reads the reply's body. Other servers have pages of their own there: without slots or a model it is none of ours.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let props: Value = serde_json::from_slice(body).ok()?;
        let slots = props["total_slots"].as_u64().and_then(|slots| usize::try_from(slots).ok());
        let alias = props["model_alias"].as_str().map(str::to_owned);
        if slots.is_none() && alias.is_none() {
            return None;
        }
        Some(Self {
            alias,
            slots: slots.filter(|slots| *slots > 0),
            context: props["default_generation_settings"]["n_ctx"].as_u64().filter(|tokens| *tokens > 0),
            calls_functions: props["chat_template_caps"]["supports_tool_calls"].as_bool(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_real_server_says_is_read() {
        // Shortened from a reply of llama-server 0.7.0.
        let body = br#"{"default_generation_settings":{"params":{"seed":4294967295,"temperature":0.8},"n_ctx":4096},"total_slots":4,
            "model_alias":"tiny","model_path":"tiny.gguf","chat_template_caps":{"supports_tool_calls":true},"build_info":"b11669"}"#;
        let expected = Props {
            alias: Some("tiny".to_owned()),
            slots: Some(4),
            context: Some(4096),
            calls_functions: Some(true),
        };
        assert_eq!(Props::parse(body), Some(expected));
    }

    #[test]
    fn what_a_version_leaves_out_is_not_known() {
        let props =
            Props::parse(br#"{"total_slots":1,"default_generation_settings":{"n_ctx":"?"}}"#).unwrap();
        assert_eq!(props, Props { slots: Some(1), ..Props::default() });
    }

    #[test]
    fn a_page_of_another_server_is_no_llama_cpp() {
        for body in [&b"<html>"[..], b"{}", b"[]", b"null", b"{\"total_slots\":\"4\"}", b"\xff"] {
            assert_eq!(Props::parse(body), None);
        }
    }
}
