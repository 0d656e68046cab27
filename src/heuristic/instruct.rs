//! Pairs of an instruction and an answer.

use super::NotMeasurable;
use super::ask::Ask;
use super::signal::Good::{AtLeast, AtMost};
use super::signal::{Signal, share, signal, weigh};
use super::text::Text;
use super::words;

/// The whole formula. A number without a source is common sense, set before any rated sample was looked at.
const SIGNALS: [Signal<Pair>; 17] = [
    // Words over those that the instruction lets expect: 1 for "which", 50 for "explain", 6 for code, otherwise 12.
    signal("length asked for", AtLeast(0.0, 1.0), 0.8, |p| Some(p.length)),
    signal("words", AtLeast(0.0, 80.0), 0.2, |p| Some(p.words as f64)),
    signal("letters", AtLeast(0.0, 0.4), 0.85, |p| p.letters),
    // An answer that is the instruction again; a corrected sentence or a quotation stays lower.
    signal("echo", AtMost(0.5, 0.85), 0.8, |p| p.echo),
    signal("own words", AtLeast(0.0, 0.3), 0.4, |p| p.own),
    signal("words of the instruction", AtLeast(0.0, 0.25), 0.5, |p| p.topic),
    signal("refusals", AtMost(0.0, 1.0), 0.75, |p| Some(p.refusals)),
    signal("placeholders", AtMost(0.0, 1.0), 0.7, |p| Some(p.placeholders)),
    // IFEval (Zhou et al. 2023): constraints whose keeping shows on the surface.
    signal("constraints kept", AtLeast(0.0, 1.0), 0.6, |p| p.kept),
    signal("cut off", AtMost(0.0, 1.0), 0.45, |p| p.cut),
    // From here the answer as prose, milder than there: an answer may be a list, a table or a line of code.
    signal("stop words", AtLeast(0.05, 0.25), 0.3, |p| {
        p.output.grammar().map(|(stop, _)| stop).filter(|_| p.prose)
    }),
    signal("misplaced articles", AtMost(0.04, 0.25), 0.5, |p| share(p.output.misplaced, p.output.articles)),
    signal("capitals", AtLeast(0.3, 0.85), 0.25, |p| {
        share(p.output.capitals, p.output.opened).filter(|_| p.prose)
    }),
    signal("duplicate lines", AtMost(0.05, 0.3), 0.6, |p| {
        share(p.output.duplicate_bytes, p.output.line_bytes)
    }),
    signal("repeated 5-grams", AtMost(0.08, 0.4), 0.7, |p| share(p.output.repeated, p.output.grams)),
    signal("web words", AtMost(0.02, 0.12), 0.4, |p| share(p.output.web_words, p.output.words)),
    signal("shouting", AtMost(0.06, 0.3), 0.3, |p| {
        share(p.output.shouted + p.output.exclamations, p.output.words)
    }),
];

/// Phrases near the beginning of an answer that is none.
#[rustfmt::skip]
const REFUSALS: [&str; 12] = [
    "i cannot", "i can't", "i can not", "i'm sorry", "i am sorry", "i'm unable", "i am unable", "i'm not able",
    "as an ai", "language model", "i won't be able", "unable to provide",
];
/// What is left where an answer should have been written.
#[rustfmt::skip]
const PLACEHOLDERS: [&str; 7] = [
    "<nooutput>", "<noinput>", "no output", "lorem ipsum", "[insert", "your answer here", "answer goes here",
];

/// What is measured of a pair; `None` where the instruction or the answer gives no ground for it.
struct Pair {
    output: Text,
    /// Whether the answer has enough words to be judged as sentences.
    prose: bool,
    words: usize,
    length: f64,
    letters: Option<f64>,
    echo: Option<f64>,
    own: Option<f64>,
    topic: Option<f64>,
    refusals: f64,
    placeholders: f64,
    kept: Option<f64>,
    cut: Option<f64>,
}

impl Pair {
    fn of(instruction: &str, answer: &str) -> Self {
        let output = Text::of(answer);
        let (ask, said) = (Ask::of(instruction), Sets::of(answer));
        let asked = Sets::of(instruction);
        let other_words = ask.other_language() || Text::of(instruction).scripts.measurable().is_err();
        let said_of_asked = in_common(&asked.content, &said.content);
        let longer = asked.trigrams.len().max(said.trigrams.len());
        let start: String =
            answer.trim().chars().take(200).collect::<String>().to_lowercase().replace('’', "'");
        let found = |phrases: &[&str]| phrases.iter().filter(|phrase| start.contains(*phrase)).count() as f64;
        Self {
            prose: output.words >= 20,
            words: said.words,
            length: said.words as f64 / ask.words_expected(),
            letters: share(output.scripts.letters(), output.visible.max(1)).filter(|_| !ask.allows_digits()),
            echo: share(in_common(&said.trigrams, &asked.trigrams), longer),
            own: share(said.content.len() - said_of_asked, said.content.len())
                .filter(|_| said.content.len() >= 8),
            topic: share(said_of_asked, asked.content.len())
                .filter(|_| asked.content_letters >= 10 && said.words > 8 && !other_words),
            refusals: found(&REFUSALS),
            placeholders: found(&PLACEHOLDERS),
            kept: ask.kept(answer, &output),
            cut: cut_off(answer, &output),
            output,
        }
    }
}

/// The words of a text as sorted sets of hashes.
struct Sets {
    words: usize,
    trigrams: Vec<u64>,
    /// The first five letters of words of four and more that are about something.
    content: Vec<u64>,
    content_letters: usize,
}

impl Sets {
    fn of(text: &str) -> Self {
        let (mut hashes, mut content, mut content_letters) = (Vec::new(), Vec::new(), 0);
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            let hash = words::hash(word.as_bytes());
            hashes.push(hash);
            let stem = word.char_indices().nth(5).map_or(word, |(end, _)| &word[..end]);
            if words::flags(hash) == 0 && word.len() > 3 {
                content.push(words::hash(stem.as_bytes()));
                content_letters += word.chars().count();
            }
        }
        let trigram = |three: &[u64]| three.iter().fold(0_u64, |gram, word| gram.rotate_left(21) ^ word);
        let mut trigrams: Vec<u64> = hashes.windows(3).map(trigram).collect();
        for set in [&mut trigrams, &mut content] {
            set.sort_unstable();
            set.dedup();
        }
        Self { words: hashes.len(), trigrams, content, content_letters }
    }
}

fn in_common(one: &[u64], other: &[u64]) -> usize {
    one.iter().filter(|hash| other.binary_search(hash).is_ok()).count()
}

/// 1 where the last plain line of a longer answer stops in the middle, 0 where it does not.
fn cut_off(answer: &str, output: &Text) -> Option<f64> {
    if output.odd_fence {
        return Some(1.0);
    }
    let last = answer.trim_end().lines().next_back()?;
    // Verses, items and code end without a stop.
    let plain = last.len() > 50 && output.items == 0 && !last.contains(['=', ';', '|', '{', '`']);
    let open = last.ends_with(|c: char| c.is_alphanumeric() || c == ',');
    (plain && output.words > 15).then(|| f64::from(u8::from(open)))
}

pub(super) fn rate(instruction: &str, answer: &str) -> Result<(f64, String), NotMeasurable> {
    let pair = Pair::of(instruction, answer);
    pair.output.scripts.measurable()?;
    Ok(weigh(&SIGNALS, &pair))
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, rate};
    use super::{Ask, Text};

    const ASK: &str = "Explain in two paragraphs why the sky looks blue during the day.";
    const ANSWER: &str = "Sunlight looks white, but it is a mixture of all colours. When it enters the air, it meets \
        molecules that are much smaller than its wavelength. They scatter short waves far more than long ones.\n\n\
        Blue light is therefore sent in every direction, and reaches our eyes from the whole sky. Red light passes \
        almost straight on, which is why the setting sun, whose light has a long way through the air, looks red.";

    fn overall(instruction: &str, answer: &str) -> f64 {
        rate(Kind::Instruct, &[instruction, answer], 1.0..=3.0).unwrap().overall
    }

    #[test]
    fn an_answer_is_good_and_whatever_avoids_one_is_not() {
        assert!(overall(ASK, ANSWER) > 2.5, "{:?}", rate(Kind::Instruct, &[ASK, ANSWER], 1.0..=3.0));
        let digits = "31415926535897932384 6264338327950288 4197169399375105820974944";
        let other = "Bananas are rich in potassium. They are best kept in a dry place at room temperature, and they \
            ripen faster beside apples. Most people like them with a few brown spots.";
        let refusal =
            "I'm sorry, but as an AI language model I cannot explain why the sky looks blue to people.";
        for answer in ["", "ok", ASK, digits, other, refusal, "<nooutput>", &"The sky is blue. ".repeat(30)] {
            assert!(
                overall(ASK, answer) < 2.0,
                "{answer}: {:?}",
                rate(Kind::Instruct, &[ASK, answer], 1.0..=3.0)
            );
        }
    }

    #[test]
    fn a_short_question_may_have_a_short_answer() {
        assert!(overall("What is the capital of France?", "Paris.") > 2.5);
        assert!(overall("How much is 17 + 25?", "42") > 2.5);
        assert!(overall("Write an essay on the capital of France.", "Paris.") < 1.5);
    }

    #[test]
    fn a_cut_answer_is_below_a_finished_one() {
        let cut = &ANSWER[..ANSWER.len() - 30];
        assert!(overall(ASK, cut) < overall(ASK, ANSWER) - 0.3);
        assert!(overall(ASK, &format!("{ANSWER}\n```python\nprint(1)")) < overall(ASK, ANSWER) - 0.3);
    }

    #[test]
    fn a_constraint_counts_where_it_is_demanded() {
        let kept = |ask: &str, answer: &str| Ask::of(ask).kept(answer, &Text::of(answer));
        assert_eq!(kept("Answer in two sentences.", "One. Two."), Some(1.0));
        assert_eq!(kept("Write at least 50 words as JSON.", "none"), Some(0.0));
        assert_eq!(kept("Return it in JSON format.", "```json\n{\"a\": [1]}\n```"), Some(1.0));
        assert_eq!(kept("What do these two sentences and 99999999999999999999 words say?", "One."), None);
    }

    #[test]
    fn the_script_of_the_answer_counts_not_that_of_the_instruction() {
        assert!(rate(Kind::Instruct, &["天空为什么是蓝色的？", ANSWER], 1.0..=3.0).is_ok());
        assert!(rate(Kind::Instruct, &[ASK, "因为空气散射蓝光。"], 1.0..=3.0).is_err());
    }
}
