//! Cutting text by tokens: which bytes of a document a rater sees.
//!
//! One tokenizer (`cl100k_base`) serves all models, so that all of them see the same text. The cuts are part
//! of the cache key's input: changing where a text is cut asks every long document again.

use std::ops::Range;

use bpe_openai::cl100k_base;

/// How much of a document is shown, counted in tokens of `cl100k_base`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Room of one piece (`TOKENS_PER_CHUNK`); 0 counts as 1.
    pub tokens_per_chunk: usize,
    /// The most pieces taken from one document (`CHUNKS_PER_DOC`); 0 counts as 1.
    pub chunks_per_doc: usize,
    /// How far an edge may move to reach a line edge (`MAX_SEARCH_DISTANCE`), in tokens either side.
    pub max_search_distance: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tokens_per_chunk: 1500, chunks_per_doc: 2, max_search_distance: 100 }
    }
}

/// Cuts a document into pieces spread evenly over it.
///
/// Returns byte ranges on `char` boundaries: in order, non-overlapping, none of them empty, and at least one
/// unless `text` is empty. With `n` tokens in the text there are `p = min(chunks_per_doc, ⌈n /
/// tokens_per_chunk⌉)` pieces, and piece `i` begins at token `⌊i·n/p⌋`. A text that fits into `p` pieces is
/// thus covered whole, the end of one piece being the start of the next; a longer one is sampled at even
/// distances. A text of at most `tokens_per_chunk` tokens is one piece.
///
/// An inner edge moves to the nearest line edge (just after `\n`, the earlier of two at the same distance)
/// within `max_search_distance` tokens, but by less than half a piece, so that edges never meet or cross;
/// without one it stays, at the end of the character that its token belongs to. The document's own start and
/// end never move. A piece therefore holds at most `tokens_per_chunk + 2 · max_search_distance` tokens, give
/// or take a few where a slice is tokenized differently on its own.
///
/// The first range starts at 0. A later piece of nothing but white space is left out: there is nothing in it
/// to rate.
///
/// Time is linear in the bytes of the text, which is tokenized once, or not at all where it has no more bytes
/// than a piece may have tokens. Memory is eight bytes a token.
#[expect(clippy::single_range_in_vec_init, reason = "one piece is a list of one range")]
pub fn cut(text: &str, limits: &Limits) -> Vec<Range<usize>> {
    let room = limits.tokens_per_chunk.max(1);
    if text.is_empty() {
        return Vec::new();
    }
    // A token is at least one byte.
    if text.len() <= room {
        return vec![0..text.len()];
    }
    let ends: Vec<usize> = token_ends(text).collect();
    let tokens = ends.len();
    let pieces = tokens.div_ceil(room).min(limits.chunks_per_doc.max(1));
    let shortest = room.min(tokens / pieces);
    let distance = limits.max_search_distance.min(shortest.saturating_sub(1) / 2);
    let edge = |token| line_edge(text, &ends, token, distance);
    (0..pieces)
        .map(|piece| {
            let (start, next) = (piece * tokens / pieces, (piece + 1) * tokens / pieces);
            edge(start)..edge(next.min(start + room))
        })
        // Empty ones too: a character may be several tokens, and so several pieces of tiny limits.
        .filter(|cut| cut.start == 0 || !text[cut.clone()].trim_start().is_empty())
        .collect()
}

/// Shares the room of one question (`tokens_per_chunk`) among several fields.
///
/// Returns one range per field, in their order, each starting at 0. Every field gets the same room; what a
/// short field leaves goes to the others in equal parts (which differ by a token where they must). A
/// field that is longer than its room is cut at its end, on a `char` boundary (the character of the last
/// token is kept whole). If there are more fields than tokens, each field still keeps one token.
///
/// Of a long field no more is tokenized than the room asks for, apart from one very long word.
pub fn share(fields: &[&str], limits: &Limits) -> Vec<Range<usize>> {
    let room = limits.tokens_per_chunk.max(fields.len());
    if fields.iter().map(|field| field.len()).sum::<usize>() <= room {
        return fields.iter().map(|field| 0..field.len()).collect();
    }
    // One token more than the room tells a field that fills it from one that does not fit.
    let ends: Vec<Vec<usize>> =
        fields.iter().map(|field| token_ends(field).take(room + 1).collect()).collect();
    let mut shortest_first: Vec<usize> = (0..fields.len()).collect();
    shortest_first.sort_by_key(|&field| ends[field].len());

    let mut ranges = vec![0..0; fields.len()];
    let mut left = room;
    for (done, field) in shortest_first.into_iter().enumerate() {
        let share = ends[field].len().min(left.div_ceil(fields.len() - done));
        left -= share;
        ranges[field] = 0..token_edge(fields[field], &ends[field], share);
    }
    ranges
}

/// The number of tokens of `text` in `cl100k_base`. Special tokens such as `<|endoftext|>` are ordinary text.
pub fn count(text: &str) -> usize {
    cl100k_base().count(text)
}

/// The byte at which each token ends, lazily: one word of the tokenizer's own splitting at a time.
fn token_ends(text: &str) -> impl Iterator<Item = usize> {
    let tokenizer = cl100k_base();
    let tokens =
        tokenizer.split(text).flat_map(|word| tokenizer.bpe.encode_via_backtracking(word.as_bytes()));
    // `cl100k_base` does not normalize its input, so that token lengths are lengths in `text`.
    tokens.scan(0, |end, token| {
        *end += tokenizer.bpe.token_len(token);
        Some(*end)
    })
}

/// The byte just before token number `token`, or after the character that this token splits.
fn token_edge(text: &str, ends: &[usize], token: usize) -> usize {
    token.checked_sub(1).map_or(0, |last| text.ceil_char_boundary(ends[last]))
}

/// Where an edge before token number `token` belongs: on the nearest line edge not more than `distance`
/// tokens away, else where it is.
///
/// The result never decreases as `token` grows (both window and place grow with it), which is what keeps
/// pieces in order and lets two that share an edge keep sharing it.
fn line_edge(text: &str, ends: &[usize], token: usize, distance: usize) -> usize {
    let place = token_edge(text, ends, token);
    if token == 0 || token == ends.len() {
        return place;
    }
    let from = token_edge(text, ends, token.saturating_sub(distance));
    let to = token_edge(text, ends, ends.len().min(token + distance));
    // An edge at `from` is one after a line feed at `from - 1`.
    let start = from.saturating_sub(1);
    let bytes = text.as_bytes();
    let before = memchr::memrchr(b'\n', &bytes[start..place]).map(|at| start + at + 1);
    let after = memchr::memchr(b'\n', &bytes[place..to]).map(|at| place + at + 1);
    match (before, after) {
        (Some(before), Some(after)) if after - place < place - before => after,
        (Some(before), _) => before,
        (None, Some(after)) => after,
        (None, None) => place,
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one piece is a list of one range")]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    fn limits(tokens_per_chunk: usize, chunks_per_doc: usize, max_search_distance: usize) -> Limits {
        Limits { tokens_per_chunk, chunks_per_doc, max_search_distance }
    }

    /// The whole text, in one piece.
    fn whole(text: &str) -> Vec<Range<usize>> {
        vec![0..text.len()]
    }

    /// Twelve sections of about 420 tokens: headings, lines of uneven length, blank lines.
    fn sections() -> String {
        let mut text = String::from("# The lake, by season\n\n");
        for section in 1..=12 {
            write!(text, "## Section {section}\n\n").unwrap();
            for line in 0..22 {
                let metres = section * 31 + line * 7;
                writeln!(
                    text,
                    "- On day {line} the water stood {metres} cm high;{}",
                    " reeds".repeat(line % 9)
                )
                .unwrap();
            }
            text.push('\n');
        }
        text
    }

    // Golden cuts. The bytes a rater saw are in the cache key's input and in every rating written to disk:
    // changing one of these numbers is a breaking change.

    #[test]
    fn golden_cuts_of_a_text_with_sections() {
        let text = sections();
        assert_eq!((text.len(), count(&text)), (16509, 5599));
        insta::assert_compact_debug_snapshot!(cut(&text, &Limits::default()), @"[0..4405, 8255..12656]");
        insta::assert_compact_debug_snapshot!(cut(&text, &limits(1500, 4, 100)), @"[0..4130, 4130..8255, 8255..12380, 12380..16509]");
        insta::assert_compact_debug_snapshot!(cut(&text, &limits(500, 3, 5)), @"[0..1468, 5505..6981, 11005..12482]");
        insta::assert_compact_debug_snapshot!(cut(&text, &limits(500, 3, 0)), @"[0..1468, 5492..6968, 10998..12475]");
    }

    #[test]
    fn golden_cuts_of_chinese_without_line_edges() {
        let text = "数据的质量决定了模型的质量，因此我们逐行评估。".repeat(200);
        assert_eq!((text.len(), count(&text)), (13800, 5200));
        insta::assert_compact_debug_snapshot!(cut(&text, &Limits::default()), @"[0..3981, 6900..10881]");
    }

    #[test]
    fn golden_cuts_of_one_long_line() {
        let text = "lorem ipsum dolor sit amet; ".repeat(3600);
        assert_eq!((text.len(), count(&text)), (100_800, 21_602));
        insta::assert_compact_debug_snapshot!(cut(&text, &Limits::default()), @"[0..6998, 50399..57399]");
    }

    #[test]
    fn golden_cuts_inside_emoji_and_combining_characters() {
        let text = "🤦🏽‍♂️ e\u{301}o\u{308}\u{332} 🇵🇹\n".repeat(4);
        assert_eq!((text.len(), count(&text)), (144, 100));
        insta::assert_compact_debug_snapshot!(cut(&text, &limits(1, 50, 0)), @"[0..4, 8..11, 11..14, 14..17, 19..21, 22..24, 24..26, 26..31, 40..44, 53..55, 57..58, 67..71, 72..76, 80..83, 83..86, 86..89, 91..93, 94..96, 96..98, 98..103, 112..116, 125..127, 129..130, 139..143]");
        insta::assert_compact_debug_snapshot!(cut(&text, &limits(7, 3, 100)), @"[0..11, 47..60, 96..108]");
        insta::assert_compact_debug_snapshot!(cut(&text, &limits(40, 2, 100)), @"[0..72, 72..144]");
    }

    #[test]
    fn golden_shares_of_an_instruction_and_a_long_output() {
        let chinese = "数据质量".repeat(300);
        let fields = ["Describe the lake in one sentence.", &sections(), &chinese, ""];
        insta::assert_compact_debug_snapshot!(share(&fields, &Limits::default()), @"[0..34, 0..2180, 0..2241, 0..0]");
    }

    #[test]
    fn a_text_that_fits_is_one_chunk_up_to_its_last_token() {
        let text = "a b\n".repeat(500);
        assert_eq!(count(&text), 1500);
        assert_eq!(cut(&text, &Limits::default()), whole(&text));
        assert_eq!(cut("Hi.", &Limits::default()), whole("Hi."));
        assert!(cut("", &Limits::default()).is_empty());
        assert_eq!(cut(&format!("{text}a"), &Limits::default()).len(), 2);
    }

    #[test]
    fn a_special_token_is_ordinary_text() {
        assert_eq!(count("<|endoftext|>"), 7);
        let text = "<|endoftext|>\n".repeat(10);
        assert_eq!(cut(&text, &limits(8, 1, 3)), [0..14]);
    }

    #[test]
    fn an_edge_moves_to_the_nearest_line_edge_within_the_distance() {
        // Forty tokens of two bytes, in pieces of twenty: their edge is at byte 40 unless it moves.
        let edge_with_lines_after = |tokens: &[usize], distance| {
            let mut text = " a".repeat(40);
            for token in tokens {
                text.replace_range(2 * token..2 * token + 2, " \n");
            }
            assert_eq!(count(&text), 40);
            cut(&text, &limits(20, 2, distance))[0].end
        };
        assert_eq!(edge_with_lines_after(&[], 5), 40);
        assert_eq!(edge_with_lines_after(&[14, 22], 5), 46);
        assert_eq!(edge_with_lines_after(&[14, 26], 5), 30);
        assert_eq!(edge_with_lines_after(&[17, 21], 5), 36, "the earlier of two at the same distance");
        assert_eq!(edge_with_lines_after(&[19, 24], 5), 40, "already on a line edge");
        assert_eq!(edge_with_lines_after(&[13, 25], 5), 40, "too far");
        assert_eq!(edge_with_lines_after(&[2, 38], 100), 40, "never more than half a piece");
    }

    #[test]
    fn a_piece_of_white_space_is_left_out_unless_it_is_the_first() {
        let blank = "\t \n".repeat(300);
        let text = format!("title\n{blank}end of the text");
        let cuts = cut(&text, &limits(100, 6, 0));
        assert_eq!(cuts.len(), 2);
        assert_eq!((cuts[0].start, cuts[1].end), (0, text.len()));
        assert_eq!(cut(&blank, &limits(100, 6, 0)), [0..300]);
    }

    #[test]
    fn one_letter_a_million_times_is_cut() {
        let cuts = cut(&"a".repeat(1_000_000), &Limits::default());
        assert_eq!(cuts, [0..12_000, 500_000..512_000]);
    }

    #[test]
    fn what_a_short_field_leaves_goes_to_the_others() {
        let (short, long) = ("a b c", " x".repeat(50));
        assert_eq!(share(&[short, &long, &long], &limits(33, 2, 100)), [0..5, 0..30, 0..30]);
        assert_eq!(share(&[&long, short, &long], &limits(34, 2, 100)), [0..32, 0..5, 0..30]);
        assert_eq!(share(&[&long, short], &limits(53, 2, 100)), [0..100, 0..5]);
        assert_eq!(share(&[&long, &long, ""], &limits(0, 0, 0)), [0..4, 0..2, 0..0]);
        assert!(share(&[], &Limits::default()).is_empty());
    }

    /// Text in which lines, blanks, long words and characters of several tokens meet.
    fn texts() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("\n".to_owned()),
            Just("\r\n\n".to_owned()),
            Just(" \t ".to_owned()),
            "[a-zA-Z']{1,12} ",
            Just("===========".to_owned()),
            Just("🤦🏽‍♂️".to_owned()),
            "\\PC{1,4}",
            any::<String>(),
        ];
        prop::collection::vec(part, 0..80).prop_map(|parts| parts.concat())
    }

    fn any_limits() -> impl Strategy<Value = Limits> {
        (0..60_usize, 0..60_usize, prop_oneof![0..40_usize, Just(usize::MAX)])
            .prop_map(|(tokens, chunks, distance)| limits(tokens, chunks, distance))
    }

    proptest! {
        #[test]
        fn pieces_are_ordered_slices_that_cover_what_fits(text in texts(), limits in any_limits()) {
            let cuts = cut(&text, &limits);
            let (room, most) = (limits.tokens_per_chunk.max(1), limits.chunks_per_doc.max(1));
            prop_assert_eq!(cuts.is_empty(), text.is_empty());
            prop_assert!(cuts.len() <= most);
            prop_assert!(cuts.iter().all(|cut| !cut.is_empty() && text.get(cut.clone()).is_some()));
            prop_assert!(cuts.windows(2).all(|pair| pair[0].end <= pair[1].start));

            let blank = |range: Range<usize>| text[range].trim().is_empty();
            prop_assert!(cuts.first().is_none_or(|first| first.start == 0));
            prop_assert!(cuts.iter().skip(1).all(|cut| !blank(cut.clone())));
            let ends: Vec<usize> = token_ends(&text).collect();
            prop_assert_eq!(ends.len(), count(&text));
            prop_assert_eq!(ends.last().copied().unwrap_or(0), text.len());
            if ends.len() <= room && !text.is_empty() {
                prop_assert_eq!(&cuts, &whole(&text));
            }
            if ends.len() <= room * most {
                let starts = cuts.iter().map(|cut| cut.start).chain([text.len()]);
                let gaps = [0].into_iter().chain(cuts.iter().map(|cut| cut.end)).zip(starts);
                for (end, start) in gaps {
                    prop_assert!(blank(end..start));
                }
            }
            // A moved edge, and at either end a character of at most four tokens.
            let bound = room + 2 * limits.max_search_distance.min(room) + 6;
            for cut in &cuts {
                prop_assert!(ends.iter().filter(|&&end| cut.start < end && end <= cut.end).count() <= bound);
            }
        }

        #[test]
        fn shares_fill_the_room_and_are_fair(
            fields in prop::collection::vec(texts(), 0..5), room in 0..200_usize,
        ) {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let ranges = share(&fields, &limits(room, 2, 100));
            prop_assert_eq!(ranges.len(), fields.len());
            let room = room.max(fields.len());
            let counts: Vec<usize> = fields.iter().map(|field| count(field)).collect();
            let mut shown = Vec::new();
            for (field, range) in fields.iter().zip(&ranges) {
                prop_assert!(range.start == 0 && field.get(range.clone()).is_some());
                prop_assert_eq!(range.is_empty(), field.is_empty());
                shown.push(token_ends(field).take_while(|&end| end <= range.end).count());
            }
            // A cut may complete a character of at most four tokens.
            let total: usize = shown.iter().sum();
            prop_assert!(total <= room + 3 * fields.len());
            prop_assert!(total >= room.min(counts.iter().sum()));
            let cut_at = (0..fields.len()).filter(|&at| shown[at] < counts[at]).map(|at| shown[at]).min();
            if let Some(least) = cut_at {
                prop_assert!(shown.iter().all(|&shown| shown <= least + 4), "{:?} of {:?}", shown, counts);
            }
        }
    }
}
