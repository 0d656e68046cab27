//! `--llama-args`: what a user passes on to the server, and what of it changes who answers.

use sha2::{Digest as _, Sha256};

use super::Error;
use crate::http::plain;

/// What the program sets itself, and why a user may not.
const OURS: [(&[&str], &str); 4] = [
    (
        &[
            "-m",
            "--model",
            "-mu",
            "--model-url",
            "-hf",
            "-hfr",
            "--hf-repo",
            "-hff",
            "--hf-file",
            "-dr",
            "--docker-repo",
            "--models-dir",
            "--models-preset",
        ],
        "the model is what --model names",
    ),
    (
        &["--host", "--port", "--reuse-port", "--api-prefix", "--ssl-key-file", "--ssl-cert-file"],
        "this server is for one run, on a free port of 127.0.0.1; start one yourself for anything else, and set OPENAI_BASE_URL",
    ),
    (
        &["-a", "--alias", "--api-key", "--api-key-file"],
        "name and key tell the program that it talks to its own server",
    ),
    (
        &["--embedding", "--embeddings", "--rerank", "--reranking"],
        "a server that is started so does not chat",
    ),
];

/// What makes another model of the same file. Beside the file's digest it is part of the name that ratings are kept
/// under; what only makes it faster or smaller is not.
const ALTERING: [&str; 10] = [
    "--lora",
    "--lora-scaled",
    "--control-vector",
    "--control-vector-scaled",
    "--control-vector-layer-range",
    "--override-kv",
    "--chat-template",
    "--chat-template-file",
    "--chat-template-kwargs",
    "--reasoning-budget",
];

/// Arguments for the server, split as a shell would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Splits `text` at spaces outside of quotes.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let words = shlex::split(text).ok_or_else(|| {
            Error::Arguments("a quote is not closed, or nothing follows the last backslash".to_owned())
        })?;
        for word in &words {
            let name = flag(word);
            if let Some((_, why)) = OURS.iter().find(|(names, _)| names.contains(&name.as_str())) {
                return Err(Error::Arguments(format!("`{}` cannot be set: {why}", plain(word))));
            }
        }
        Ok(Self(words))
    }

    /// The words, in order.
    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// Eight hexadecimal digits for the arguments that change who answers; none where there are none.
    pub fn altering(&self) -> Option<String> {
        let mut altering: Vec<&str> = Vec::new();
        let mut is_altering = false;
        for word in &self.0 {
            if word.starts_with('-') {
                is_altering = ALTERING.contains(&flag(word).as_str());
            }
            if is_altering {
                altering.push(word);
            }
        }
        if altering.is_empty() {
            return None;
        }
        let digest = Sha256::digest(altering.join("\0"));
        Some(digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect())
    }
}

/// A flag's name: llama.cpp takes `_` for `-` in it.
fn flag(word: &str) -> String {
    if word.starts_with("--") { word.replace('_', "-") } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Arguments::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn words_are_split_as_a_shell_does() {
        let words = |text| Arguments::parse(text).unwrap().words().to_vec();
        assert_eq!(words("-t 1 --chat-template 'a b' x\\ y"), ["-t", "1", "--chat-template", "a b", "x y"]);
        assert!(words("  ").is_empty());
    }

    #[test]
    fn an_open_quote_is_a_mistake() {
        assert_eq!(
            refused("-t '1"),
            "--llama-args: a quote is not closed, or nothing follows the last backslash"
        );
    }

    #[test]
    fn what_the_program_sets_cannot_be_set() {
        assert!(refused("-t 1 --port 80").contains("`--port` cannot be set: this server is for one run"));
        assert!(refused("--model x.gguf").contains("the model is what --model names"));
        assert!(refused("--api_key x").contains("its own server"));
    }

    #[test]
    fn an_adapter_makes_another_model_and_threads_do_not() {
        let name = |text| Arguments::parse(text).unwrap().altering();
        assert_eq!(name("-t 8 -ngl 99 -fa on"), None);
        let adapter = name("-t 8 --lora a.gguf");
        assert_eq!(adapter.as_ref().map(String::len), Some(8));
        assert_eq!(adapter, name("--lora a.gguf -t 1"));
        assert_ne!(adapter, name("--lora b.gguf"));
    }
}
