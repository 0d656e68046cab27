//! Running text: textbooks, articles, pages of the web.

use super::NotMeasurable;
use super::signal::Good::{AtLeast, AtMost, Between};
use super::signal::{Signal, share, signal, weigh};
use super::text::Text;

/// The whole formula. A number without a source is common sense, set before any rated sample was looked at.
const SIGNALS: [Signal<Text>; 19] = [
    // Gopher: at least 50 words. An explanation takes room, hence the second row.
    signal("words", AtLeast(0.0, 50.0), 0.6, |t| Some(t.words as f64)),
    signal("development", AtLeast(30.0, 200.0), 0.2, |t| Some(t.words as f64)),
    // Gopher: 80 % of words have a letter; here letters among the visible characters. Formulas lower it.
    signal("letters", AtLeast(0.3, 0.72), 0.9, |t| share(t.scripts.letters(), t.visible.max(1))),
    // Gopher: mean word length 3 to 10.
    signal("word length", Between(2.0, 3.5, 8.0, 12.0), 0.7, |t| share(t.scripts.letters(), t.words)),
    // Gopher: at least two English stop words; running text of the known languages has 35 to 55 %.
    signal("stop words", AtLeast(0.05, 0.3), 0.6, |t| t.grammar().map(|(stop, _)| stop)),
    // No English article stands before a function word; shuffled words put about 40 % of them there.
    signal("misplaced articles", AtMost(0.04, 0.25), 0.6, |t| share(t.misplaced, t.articles)),
    // FineWeb-Edu rewards explanation; its words (because, example, called, whereas …) are 2 to 6 % of it.
    signal("explaining words", AtLeast(0.0, 0.025), 0.35, |t| t.grammar().map(|(_, explain)| explain)),
    signal("parts", AtLeast(0.0, 3.0), 0.15, |t| Some((t.paragraphs + t.headings) as f64)),
    // LIX (Björnsson 1968): words a sentence + percentage of words over six letters; 20 children's, 60 hard.
    signal("LIX", Between(8.0, 30.0, 62.0, 100.0), 0.4, |t| {
        Some(share(t.words, t.sentences)? + 100.0 * share(t.long_words, t.words)?)
    }),
    // FineWeb: a page with fewer than 12 % of its lines ending in a stop is dropped (C4: every such line).
    signal("ended lines", AtLeast(0.02, 0.15), 0.5, |t| share(t.ended, t.plain)),
    // FineWeb: 67 % of the lines under 30 characters is a list of links.
    signal("short lines", AtMost(0.35, 0.85), 0.5, |t| share(t.short, t.plain)),
    // Gopher: 90 % of the lines are bullets.
    signal("list lines", AtMost(0.6, 0.95), 0.4, |t| share(t.items, t.lines)),
    // Edited text begins its sentences with a capital.
    signal("capitals", AtLeast(0.3, 0.85), 0.4, |t| share(t.capitals, t.opened)),
    // Gopher: duplicate lines 20 % of the characters (FineWeb: 10 %); duplicate 5-grams 15 %.
    signal("duplicate lines", AtMost(0.05, 0.25), 0.7, |t| share(t.duplicate_bytes, t.line_bytes)),
    signal("repeated 5-grams", AtMost(0.05, 0.3), 0.7, |t| share(t.repeated, t.grams)),
    // Mean type-token ratio of windows of 100 words (Johnson 1944); English prose has 0.6 to 0.75.
    signal("distinct words", AtLeast(0.3, 0.55), 0.5, |t| share(t.distinct, t.windowed)),
    // Gopher: symbols 10 % of words; C4: no curly bracket. Markdown and formulas need room.
    signal("symbols", AtMost(0.08, 0.3), 0.5, |t| share(t.symbols, t.visible)),
    // C4 drops pages by words of policy and of page furniture; sales and chat are added, and shouting.
    signal("web words", AtMost(0.01, 0.08), 0.7, |t| share(t.web_words, t.words)),
    signal("shouting", AtMost(0.03, 0.2), 0.5, |t| share(t.shouted + t.exclamations, t.words)),
];

pub(super) fn rate(text: &str) -> Result<(f64, String), NotMeasurable> {
    let text = Text::of(text);
    text.scripts.measurable()?;
    Ok(weigh(&SIGNALS, &text))
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, rate};

    const TEXTBOOK: &str = "## Photosynthesis\n\nPlants make their own food from light. This process is called \
        photosynthesis, and it takes place in small bodies inside the cell, the chloroplasts. Because the green pigment \
        chlorophyll absorbs red and blue light, a leaf looks green to us.\n\nThe process has two stages. In the first \
        stage, light splits water into oxygen and hydrogen; the oxygen leaves the leaf. In the second stage, the plant \
        uses the energy that was stored in the first to build sugar from carbon dioxide. For example, a sunflower \
        builds about one gram of sugar on each square metre of leaf in an hour of sunshine.\n\nIf there is too little \
        water, the leaf closes its pores, and the second stage slows down since carbon dioxide can no longer enter.";
    const LEHRBUCH: &str = "## Photosynthese\n\nPflanzen stellen ihre Nahrung mit Licht selbst her. Dieser Vorgang \
        heißt Photosynthese und läuft in kleinen Körpern der Zelle ab, den Chloroplasten. Weil der grüne Farbstoff \
        Chlorophyll rotes und blaues Licht aufnimmt, sieht ein Blatt für uns grün aus.\n\nDer Vorgang hat zwei \
        Abschnitte. Im ersten spaltet das Licht Wasser in Sauerstoff und Wasserstoff; der Sauerstoff verlässt das \
        Blatt. Im zweiten baut die Pflanze mit der gespeicherten Energie aus Kohlendioxid Zucker auf. Zum Beispiel \
        bildet eine Sonnenblume in einer Stunde etwa ein Gramm Zucker auf jedem Quadratmeter Blatt.\n\nWenn das Wasser \
        fehlt, schließt das Blatt seine Poren, und der zweite Abschnitt wird langsamer, da kein Kohlendioxid mehr \
        in das Blatt kommt.";

    fn overall(text: &str) -> f64 {
        rate(Kind::Prose, &[text], 1.0..=3.0).unwrap().overall
    }

    /// The words of the textbook in an order that only a hash knows.
    fn salad() -> String {
        let mut words: Vec<&str> = TEXTBOOK.split_whitespace().collect();
        words.sort_by_key(|word| super::super::words::hash(word.as_bytes()));
        words.join(" ")
    }

    #[test]
    fn clear_explanation_is_good() {
        assert!(overall(TEXTBOOK) > 2.5, "{:?}", rate(Kind::Prose, &[TEXTBOOK], 1.0..=3.0));
    }

    #[test]
    fn a_german_textbook_scores_near_an_english_one() {
        assert!(
            (overall(TEXTBOOK) - overall(LEHRBUCH)).abs() < 0.3,
            "{:?}",
            rate(Kind::Prose, &[LEHRBUCH], 1.0..=3.0)
        );
    }

    #[test]
    fn what_is_no_prose_is_below_low() {
        let cookies = "We use cookies to personalise content and ads. By clicking accept you consent to all cookies. \
            Manage your cookie settings in our privacy policy, or log in and subscribe to our newsletter!";
        let menu =
            "Home\nProducts\nAbout us\nContact\nBlog\nCareers\nLogin\nCart (0)\nSearch\nHelp\nTerms\nPrivacy";
        let line = "Buy the best shoes in town today.\n".repeat(40);
        let digits = "3141 5926 5358 9793 2384 6264 3383 2795 ".repeat(20);
        for text in [cookies, menu, &line, &digits, &salad().to_lowercase(), "!!!", "asdf jkl qwer"] {
            assert!(overall(text) < 1.5, "{text:.40}: {:?}", rate(Kind::Prose, &[text], 1.0..=3.0));
        }
    }

    #[test]
    fn shuffled_words_lose_much_though_the_words_are_the_same() {
        assert!(
            overall(&salad()) < overall(TEXTBOOK) - 0.7,
            "{:?}",
            rate(Kind::Prose, &[&salad()], 1.0..=3.0)
        );
    }

    #[test]
    fn text_of_another_script_is_not_measurable_even_between_latin_words() {
        let script = |text: &str| rate(Kind::Prose, &[text], 1.0..=3.0).map_err(|error| error.script);
        assert_eq!(script("光合作用是植物利用阳光制造养分的过程。"), Err("Han"));
        assert_eq!(script("Фотосинтез (photosynthesis) идёт в листьях растений."), Err("Cyrillic"));
        assert_eq!(script("التمثيل الضوئي عملية حيوية"), Err("Arabic"));
        assert!(script("The word 光合作用 means photosynthesis.").is_ok());
    }
}
