//! Prompts that a server cut without a word: told by how many tokens it says to have read.
//!
//! Ollama's server is known for it: what exceeds its window is cut from the front, and the reply is a 200. The answer
//! then judges a text whose beginning, or whose rubric, nobody read.

use crate::chunk;
use crate::model::Tokenizer;
use crate::rating::answer::Usage;

/// A prompt of fewer tokens by our own count proves nothing: servers count their templates and functions differently.
const SHORTEST: usize = 256;

/// No server has a window as small: a smaller count is no count.
const NO_COUNT: u64 = 64;

/// How far apart the counts of cut prompts are: cutting is done in tokens or in small blocks of them.
const SAME: u64 = 8;

/// Replies at the same count before it is taken for the window.
const REPLIES: u32 = 3;

/// The counts of a run's replies, for models whose tokenizer nobody knows: after three replies at the largest count so
/// far, within 8 tokens, a prompt with that count and more than twice the tokens of the shortest of them, by
/// `cl100k_base`, is cut. (With a known tokenizer each reply speaks for itself: see [`by_count`].)
#[derive(Debug, Default)]
pub(super) struct CutWatch {
    top: u64,
    replies: u32,
    shortest: usize,
}

/// What a server's count says of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt {
    /// Nothing: it is too short, or there is no count.
    Unknown,
    /// It was read whole.
    Whole,
    /// It was cut.
    Cut {
        /// Its tokens by our count.
        tokens: u64,
        /// Those that the server read.
        read: u64,
    },
}

/// With a tokenizer: judges the count of a reply to a prompt of these texts by our own.
pub(super) fn by_count(texts: &[&str], usage: &Usage, tokenizer: Tokenizer) -> Prompt {
    let Some((read, bytes)) = counts(texts, usage) else { return Prompt::Unknown };
    // Counting is what costs here. Where the server counts a token for every 6 bytes or fewer, the prompt can be cut to
    // less than a half only if its tokens have fewer than 3 bytes each, as in digits and random letters.
    if read.saturating_mul(6) >= bytes as u64 {
        return if bytes / 6 >= SHORTEST { Prompt::Whole } else { Prompt::Unknown };
    }
    let tokens = texts.iter().map(|text| tokenizer.count(text)).sum::<usize>();
    match tokens as u64 {
        _ if tokens < SHORTEST => Prompt::Unknown,
        tokens if read.saturating_mul(2) < tokens => Prompt::Cut { tokens, read },
        _ => Prompt::Whole,
    }
}

/// How many tokens the server says to have read, and how many bytes the texts have, where that can prove anything.
fn counts(texts: &[&str], usage: &Usage) -> Option<(u64, usize)> {
    // Cached tokens are a part of the prompt's; a server that counts them beside it shows so by their number.
    let beside = if usage.cached_input > usage.input { usage.cached_input } else { 0 };
    let read = usage.input.saturating_add(beside);
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    (read >= NO_COUNT && bytes >= SHORTEST).then_some((read, bytes))
}

impl CutWatch {
    /// Without a tokenizer: compares a reply with the others at the largest count.
    pub(super) fn by_comparison(&mut self, texts: &[&str], usage: &Usage) -> Prompt {
        let Some((read, _)) = counts(texts, usage) else { return Prompt::Unknown };
        if read.saturating_add(SAME) < self.top {
            return Prompt::Whole;
        }
        let tokens = texts.iter().map(|text| chunk::count(text)).sum::<usize>();
        if tokens < SHORTEST {
            return Prompt::Unknown;
        }
        if read > self.top.saturating_add(SAME) {
            *self = Self { top: read, replies: 0, shortest: tokens };
        }
        self.replies += 1;
        self.shortest = self.shortest.min(tokens);
        if self.replies >= REPLIES && tokens > 2 * self.shortest {
            Prompt::Cut { tokens: tokens as u64, read }
        } else {
            Prompt::Whole
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: u64, cached_input: u64) -> Usage {
        Usage { input, cached_input, ..Usage::default() }
    }

    fn text(words: usize) -> String {
        "quality ".repeat(words)
    }

    fn known(words: usize, usage: &Usage) -> Prompt {
        by_count(&[&text(words)], usage, Tokenizer::O200k)
    }

    #[test]
    fn less_than_half_of_our_count_is_cut() {
        assert_eq!(known(2000, &usage(999, 0)), Prompt::Cut { tokens: 2001, read: 999 });
        assert_eq!(known(2000, &usage(1001, 0)), Prompt::Whole);
        assert_eq!(known(2000, &usage(2100, 0)), Prompt::Whole);
    }

    #[test]
    fn cached_tokens_count_once() {
        // Inside the prompt's tokens, as the protocol says, or beside them.
        assert!(matches!(known(2000, &usage(800, 700)), Prompt::Cut { read: 800, .. }));
        assert_eq!(known(2000, &usage(100, 1900)), Prompt::Whole);
    }

    #[test]
    fn no_count_and_short_prompts_prove_nothing() {
        for none in [0, 1, 10] {
            assert_eq!(known(2000, &usage(none, 0)), Prompt::Unknown);
        }
        assert_eq!(known(200, &usage(70, 0)), Prompt::Unknown);
        assert_eq!(CutWatch::default().by_comparison(&[], &usage(70, 0)), Prompt::Unknown);
    }

    fn judged(replies: &[(usize, u64)]) -> Vec<bool> {
        let mut watch = CutWatch::default();
        replies
            .iter()
            .map(|(words, read)| {
                matches!(watch.by_comparison(&[&text(*words)], &usage(*read, 0)), Prompt::Cut { .. })
            })
            .collect()
    }

    #[test]
    fn the_same_count_for_prompts_of_unlike_length_is_a_window() {
        assert_eq!(
            judged(&[(900, 2048), (2000, 2047), (3000, 2048), (1000, 2040), (4000, 2048)]),
            [false, false, true, false, true]
        );
    }

    #[test]
    fn counts_that_grow_with_the_prompts_are_no_window() {
        assert_eq!(judged(&[(900, 1100), (2000, 2300), (4000, 4500), (900, 1100), (4000, 4500)]), [false; 5]);
        // Many of the same length have the same count.
        assert_eq!(judged(&[(1500, 1800); 10]), [false; 10]);
        // A text of a language that needs few tokens may meet another's count below the largest.
        assert_eq!(
            judged(&[(5000, 5500), (900, 2048), (2000, 2048), (3000, 2048), (3000, 2048)]),
            [false; 5]
        );
    }
}
