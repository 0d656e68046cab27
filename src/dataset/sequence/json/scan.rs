//! Where a JSON value ends, found without parsing it.

use memchr::memchr2;

/// Looks for the end of one value in bytes that come in pieces.
///
/// Only strings and the depth of brackets are followed: what is inside is left to the parser.
#[derive(Debug, Default)]
pub(super) struct Scan {
    depth: u64,
    is_begun: bool,
    is_string: bool,
    is_escaped: bool,
}

/// Whether a byte matters outside of strings, inside of brackets.
const MATTERS: [bool; 256] = {
    let mut matters = [false; 256];
    let marks = b"\"{}[]";
    let mut mark = 0;
    while mark < marks.len() {
        matters[marks[mark] as usize] = true;
        mark += 1;
    }
    matters
};

impl Scan {
    /// How many of these bytes, which go on where the last ones ended, belong to the value, if it ends in them.
    ///
    /// A number or a word ends before the byte that cannot be in it, which must be there.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if self.is_escaped {
                self.is_escaped = false;
                at += 1;
            } else if self.is_string {
                at += memchr2(b'"', b'\\', &bytes[at..])? + 1;
                if bytes[at - 1] == b'\\' {
                    self.is_escaped = true;
                } else {
                    self.is_string = false;
                    if self.depth == 0 {
                        return Some(at);
                    }
                }
            } else if self.depth > 0 {
                at += bytes[at..].iter().position(|byte| MATTERS[usize::from(*byte)])? + 1;
                match bytes[at - 1] {
                    b'"' => self.is_string = true,
                    b'{' | b'[' => self.depth += 1,
                    _ => self.depth -= 1,
                }
                if self.depth == 0 {
                    return Some(at);
                }
            } else {
                match bytes[at] {
                    b',' | b':' | b'}' | b']' | b'"' | b'{' | b'[' if self.is_begun => return Some(at),
                    byte if self.is_begun && byte.is_ascii_whitespace() => return Some(at),
                    b'"' => self.is_string = true,
                    b'{' | b'[' => self.depth = 1,
                    _ => {}
                }
                self.is_begun = true;
                at += 1;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn end(json: &[u8], piece: usize) -> Option<usize> {
        let mut scan = Scan::default();
        let mut before = 0;
        for piece in json.chunks(piece) {
            if let Some(end) = scan.end(piece) {
                return Some(before + end);
            }
            before += piece.len();
        }
        None
    }

    #[test]
    fn a_value_ends_where_its_brackets_or_its_quotes_close() {
        for (json, length) in [
            (r#"{"a": "}\"\\", "b": [{}, []]} tail"#, Some(29)),
            (r#""a\"b\\" "#, Some(8)),
            ("[[1, 2], {}],", Some(12)),
            ("12.5e3,", Some(6)),
            ("null]", Some(4)),
            ("NaN }", Some(3)),
            ("12", None),
            (r#"{"a": "}"#, None),
            (r#"{"a": "\"}"#, None),
            ("{]x", Some(2)),
            ("", None),
        ] {
            for piece in 1..=json.len().max(1) {
                assert_eq!(end(json.as_bytes(), piece), length, "{json} in pieces of {piece}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_value_ends_at_its_end(
            text in "[a\"\\\\{}\\[\\]\u{e9}]{0,9}", number: i64, deep in 0_usize..9, piece in 1_usize..9,
        ) {
            let mut value = serde_json::json!({"k\"": text, "n": [number, null, {"x": text}]});
            for _ in 0..deep {
                value = serde_json::json!([value, {}]);
            }
            let mut json = value.to_string().into_bytes();
            let length = json.len();
            prop_assert_eq!(end(&json, piece), Some(length));
            prop_assert_eq!(end(&json[..length - 1], piece), None);
            json.extend(b" {\"}");
            prop_assert_eq!(end(&json, piece), Some(length));
        }
    }
}
