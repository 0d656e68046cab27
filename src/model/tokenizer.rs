//! How a model cuts text into tokens, as far as the table knows.

/// A tokenizer of the vendor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokenizer {
    /// `cl100k_base`: GPT-4 and GPT-3.5.
    Cl100k,
    /// `o200k_base`: GPT-4o and all later models.
    O200k,
}

impl Tokenizer {
    /// The tokenizer of a model by its name, for models of the table: of others nobody knows.
    pub fn of(model: &str) -> Option<Self> {
        match super::find(model)?.name.as_str() {
            "gpt-4" | "gpt-4-turbo" | "gpt-3.5-turbo" => Some(Self::Cl100k),
            _ => Some(Self::O200k),
        }
    }

    /// The number of tokens of `text`; special tokens are ordinary text. Linear in its bytes.
    pub fn count(self, text: &str) -> usize {
        match self {
            Self::Cl100k => bpe_openai::cl100k_base().count(text),
            Self::O200k => bpe_openai::o200k_base().count(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_has_its_own() {
        assert_eq!(Tokenizer::of("gpt-4-turbo"), Some(Tokenizer::Cl100k));
        assert_eq!(Tokenizer::of("gpt-4o-2024-08-06"), Some(Tokenizer::O200k));
        assert_eq!(Tokenizer::of("gpt-6-luna"), Some(Tokenizer::O200k));
        assert_eq!(Tokenizer::of("llama-3.1-8b"), None);
    }

    #[test]
    fn the_later_one_needs_fewer_tokens_for_chinese() {
        let text = "数据的质量决定了模型的质量".repeat(10);
        assert!(Tokenizer::O200k.count(&text) < Tokenizer::Cl100k.count(&text));
    }
}
