//! One pass over running text, plain or Markdown: everything its signals are computed from.

use super::script::Scripts;
use super::words::{self, LANGUAGE_COUNT};
use xxhash_rust::xxh3::xxh3_64;

/// Words in a repetition: Gopher's duplicate n-grams start at five.
const GRAM: usize = 5;
/// Words in a window of the type-token ratio.
const WINDOW: usize = 100;

/// Counts over the text outside fenced code.
#[derive(Default)]
pub(super) struct Text {
    /// Bytes that begin a character and are not ASCII white space.
    pub(super) visible: usize,
    /// ASCII punctuation that is rare in sentences.
    pub(super) symbols: usize,
    pub(super) exclamations: usize,
    pub(super) scripts: Scripts,
    /// Letters outside ASCII.
    pub(super) accented: usize,
    /// Runs of letters.
    pub(super) words: usize,
    /// Words of more than six letters.
    pub(super) long_words: usize,
    /// Words of four letters and more, all of them ASCII capitals.
    pub(super) shouted: usize,
    pub(super) web_words: usize,
    stop: [usize; LANGUAGE_COUNT],
    explain: [usize; LANGUAGE_COUNT],
    /// English articles, and those of them before another function word.
    pub(super) articles: usize,
    pub(super) misplaced: usize,
    /// Whether the markers of fenced code do not pair up.
    pub(super) odd_fence: bool,
    /// Five-word sequences, and those seen before.
    pub(super) grams: usize,
    pub(super) repeated: usize,
    /// Words in the windows of the type-token ratio, and the distinct ones of each window.
    pub(super) windowed: usize,
    pub(super) distinct: usize,
    pub(super) sentences: usize,
    /// Sentences in plain lines, and those of them that begin with a capital.
    pub(super) opened: usize,
    pub(super) capitals: usize,
    /// Lines that are not blank; of them headings, list items, and plain lines (no markup).
    pub(super) lines: usize,
    pub(super) headings: usize,
    pub(super) items: usize,
    pub(super) plain: usize,
    /// Plain lines of fewer than 30 bytes, and those that end a sentence.
    pub(super) short: usize,
    pub(super) ended: usize,
    /// Plain lines after a blank, a marked-up or a long line.
    pub(super) paragraphs: usize,
    /// Bytes of lines, and of those seen before.
    pub(super) line_bytes: usize,
    pub(super) duplicate_bytes: usize,
}

impl Text {
    /// Measures a text.
    pub(super) fn of(text: &str) -> Self {
        let mut this = Self::default();
        let mut stream = Stream::default();
        let (mut lines, mut fenced, mut begins) = (Vec::new(), false, true);
        // An odd fence belongs to a block cut elsewhere; what is inside is then unknown, so nothing is left out.
        this.odd_fence = text.lines().filter(|line| is_fence(line)).count() % 2 == 1;
        for line in text.lines().map(str::trim) {
            if is_fence(line) {
                fenced = !this.odd_fence && !fenced;
                begins = true;
            } else if line.is_empty() {
                begins = true;
            } else if !fenced {
                lines.push((xxh3_64(line.as_bytes()), line.len()));
                begins = this.see_line(line, begins);
                this.see_words(line, &mut stream);
            }
        }
        this.close_window(&mut stream);
        this.grams = stream.grams.len();
        this.repeated = stream.grams.len() - distinct(&mut stream.grams);
        lines.sort_unstable();
        let twins = lines.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        this.duplicate_bytes = twins.map(|pair| pair[1].1).sum();
        this.line_bytes = lines.iter().map(|(_, bytes)| bytes).sum();
        this.sentences = this.sentences.max(usize::from(this.words > 0));
        this
    }

    /// The share of function words in the language that has most of them, with that language's explaining words.
    ///
    /// `None` for text that is clearly in a language without a list: letters with accents, hardly a function word.
    pub(super) fn grammar(&self) -> Option<(f64, f64)> {
        let best = (0..LANGUAGE_COUNT).rev().max_by_key(|&language| self.stop[language])?;
        let of_words = |count: usize| count as f64 / self.words.max(1) as f64;
        let foreign = self.accented * 100 >= self.scripts.letters() && of_words(self.stop[best]) < 0.2;
        (self.words > 0 && !foreign).then(|| (of_words(self.stop[best]), of_words(self.explain[best])))
    }

    /// Counts a line that is not empty; answers whether the next plain line begins a paragraph.
    fn see_line(&mut self, line: &str, begins: bool) -> bool {
        self.lines += 1;
        for byte in line.bytes() {
            self.visible += usize::from((byte & 0xC0) != 0x80 && !byte.is_ascii_whitespace());
            self.symbols += usize::from(is_symbol(byte));
            self.exclamations += usize::from(byte == b'!');
        }
        let ended = line.trim_end_matches(CLOSING).ends_with(['.', '!', '?', ':', '…']);
        let marked = self.see_markup(line);
        if marked {
            // A heading or an item is a sentence of its own, with or without a stop.
            self.sentences += usize::from(!ended);
        } else {
            self.plain += 1;
            self.paragraphs += usize::from(begins);
            self.short += usize::from(line.len() < 30);
            self.ended += usize::from(ended);
        }
        self.see_sentences(line, begins && !marked);
        marked || line.len() > 120
    }

    /// Counts a line that is a heading, an item, a quotation or a table row; other lines are plain.
    fn see_markup(&mut self, line: &str) -> bool {
        let unnumbered = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let heading = line.starts_with('#') && line.trim_start_matches('#').starts_with(' ');
        let item = ["- ", "* ", "+ ", "• "].iter().any(|bullet| line.starts_with(bullet))
            || (unnumbered.len() < line.len()
                && (unnumbered.starts_with(". ") || unnumbered.starts_with(") ")));
        self.headings += usize::from(heading);
        self.items += usize::from(item);
        heading || item || line.starts_with(['|', '>'])
    }

    /// Counts the ends of sentences in a line, and the first letters that are seen after them.
    fn see_sentences(&mut self, line: &str, begins: bool) {
        if begins {
            self.see_opening(line);
        }
        for stop in memchr::memchr3_iter(b'.', b'!', b'?', line.as_bytes()) {
            let after = line[stop + 1..].trim_start_matches(CLOSING);
            if after.is_empty() || after.starts_with(char::is_whitespace) {
                self.sentences += 1;
                self.see_opening(after);
            }
        }
    }

    fn see_opening(&mut self, sentence: &str) {
        // Only near the stop: a search through the whole line after every stop would be quadratic.
        if let Some(first) = sentence.chars().take(8).find(|c| c.is_alphabetic()) {
            self.opened += 1;
            self.capitals += usize::from(!first.is_lowercase());
        }
    }

    fn see_words(&mut self, line: &str, stream: &mut Stream) {
        for word in line.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
            let letters = if word.is_ascii() {
                self.scripts.add_latin(word.len());
                self.shouted += usize::from(word.len() > 3 && word.bytes().all(|b| b.is_ascii_uppercase()));
                word.len()
            } else {
                word.chars().for_each(|letter| self.scripts.add(letter));
                self.accented += word.chars().filter(|letter| !letter.is_ascii()).count();
                word.chars().count()
            };
            self.words += 1;
            self.long_words += usize::from(letters > 6);
            let hash = words::hash(word.as_bytes());
            let flags = words::flags(hash);
            for language in 0..LANGUAGE_COUNT {
                self.stop[language] += usize::from(flags & words::stop(language) != 0);
                self.explain[language] += usize::from(flags & words::explain(language) != 0);
            }
            self.web_words += usize::from(flags & words::WEB_WORD != 0);
            self.articles += usize::from(flags & words::ARTICLE != 0);
            self.misplaced += usize::from(stream.after_article && flags & words::stop(0) != 0);
            stream.after_article = flags & words::ARTICLE != 0;
            stream.push(hash);
            if stream.window.len() == WINDOW {
                self.close_window(stream);
            }
        }
    }

    fn close_window(&mut self, stream: &mut Stream) {
        self.windowed += stream.window.len();
        self.distinct += distinct(&mut stream.window);
        stream.window.clear();
    }
}

/// The words so far, by their hashes.
#[derive(Default)]
struct Stream {
    last: [u64; GRAM],
    words: usize,
    grams: Vec<u64>,
    window: Vec<u64>,
    after_article: bool,
}

impl Stream {
    fn push(&mut self, word: u64) {
        self.last.rotate_left(1);
        self.last[GRAM - 1] = word;
        self.window.push(word);
        self.words += 1;
        if self.words >= GRAM {
            let fold =
                |gram: u64, word: &u64| (gram.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            self.grams.push(self.last.iter().fold(0, fold));
        }
    }
}

/// What may stand between the stop of a sentence and the white space after it.
const CLOSING: [char; 8] = ['"', '\'', ')', '*', '_', '”', '’', '»'];

fn is_fence(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("```") || line.starts_with("~~~")
}

fn is_symbol(byte: u8) -> bool {
    byte.is_ascii_punctuation() && !b".,;:!?'\"()-".contains(&byte)
}

fn distinct(hashes: &mut [u64]) -> usize {
    hashes.sort_unstable();
    hashes.chunk_by(|a, b| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_counted_by_their_stops_and_by_marked_lines() {
        let text = Text::of("# Title\n\nOne (is 3.5 long). \"two!\" Three?\n- item\n- item two.\n");
        assert_eq!((text.sentences, text.opened, text.capitals), (6, 3, 2));
        assert_eq!((text.lines, text.headings, text.items, text.plain), (4, 1, 2, 1));
    }

    #[test]
    fn fenced_code_is_left_out_unless_a_fence_is_missing() {
        assert_eq!(Text::of("one\n```rust\nlet x = 1;\n```\ntwo").words, 2);
        assert_eq!(Text::of("one\n```\ntwo").words, 2);
    }

    #[test]
    fn a_repeated_line_and_a_repeated_phrase_are_seen() {
        let text = Text::of("all rows look the same\nall rows look the same\n");
        assert_eq!((text.line_bytes, text.duplicate_bytes), (44, 22));
        assert_eq!((text.grams, text.repeated), (6, 1));
        assert_eq!((text.windowed, text.distinct), (10, 5));
    }

    #[test]
    fn the_language_with_most_function_words_is_taken() {
        let grammar = |text: &str| Text::of(text).grammar().map(|(stop, _)| stop > 0.4);
        assert_eq!(grammar("der Hund und die Katze sind in dem Haus"), Some(true));
        assert_eq!(grammar("the dog and the cat are in the house"), Some(true));
        assert_eq!(grammar("dog cat house tree river stone"), Some(false));
        assert_eq!(grammar("pies i kot są w domu nad rzeką"), None);
    }
}
