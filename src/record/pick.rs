//! Picking columns out of a row: by name, or by a dotted path into it.

use serde_json::Value;

/// The value that `column` names inside `value`, or `None` where there is none.
///
/// A key that is literally `column` wins; else the part before the first dot is a key (or, in a list, a
/// 0-based position) and the rest is looked for inside it: `meta.text`, `messages.0.content`.
pub fn find<'v>(value: &'v Value, column: &str) -> Option<&'v Value> {
    match value {
        Value::Object(entries) => match entries.get(column) {
            Some(literal) => Some(literal),
            None => column.split_once('.').and_then(|(key, rest)| find(entries.get(key)?, rest)),
        },
        Value::Array(items) => match column.split_once('.') {
            None => items.get(column.parse::<usize>().ok()?),
            Some((position, rest)) => find(items.get(position.parse::<usize>().ok()?)?, rest),
        },
        _ => None,
    }
}

/// The columns that are wanted of every row, and the top-level values (*roots*) that can hold them.
///
/// A reader decodes the roots only, in the order of [`Picker::roots`].
#[derive(Debug)]
pub struct Picker {
    roots: Vec<String>,
    uses: Vec<usize>,
    picks: Vec<Pick>,
}

#[derive(Debug)]
struct Pick {
    literal: usize,
    dotted: Option<(usize, String)>,
}

impl Picker {
    /// A picker of these columns, in this order; a column may be named twice.
    pub fn new(columns: &[String]) -> Self {
        let mut picker = Self { roots: Vec::new(), uses: Vec::new(), picks: Vec::new() };
        for column in columns {
            let literal = picker.root(column);
            let dotted = column.split_once('.').map(|(key, rest)| (picker.root(key), rest.to_owned()));
            picker.picks.push(Pick { literal, dotted });
        }
        picker
    }

    fn root(&mut self, name: &str) -> usize {
        let known = self.roots.iter().position(|root| root == name);
        let root = known.unwrap_or_else(|| {
            self.roots.push(name.to_owned());
            self.uses.push(0);
            self.roots.len() - 1
        });
        self.uses[root] += 1;
        root
    }

    /// The names of the top-level values to read; a row need not have them all.
    pub fn roots(&self) -> &[String] {
        &self.roots
    }

    /// The columns of one row, given its roots (`None`: the row has none); `Null` where a column is missing.
    pub fn pick(&self, roots: &mut [Option<Value>]) -> Vec<Value> {
        let columns = self.picks.iter().map(|pick| {
            if roots[pick.literal].is_some() {
                let value = &mut roots[pick.literal];
                return if self.uses[pick.literal] == 1 { value.take() } else { value.clone() };
            }
            let (root, rest) = pick.dotted.as_ref()?;
            find(roots[*root].as_ref()?, rest).cloned()
        });
        columns.map(Option::unwrap_or_default).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn pick(row: &Value, columns: &[&str]) -> Vec<Value> {
        let columns: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
        let picker = Picker::new(&columns);
        let mut roots: Vec<_> = picker.roots().iter().map(|root| row.get(root).cloned()).collect();
        picker.pick(&mut roots)
    }

    #[test]
    fn a_literal_name_wins_over_a_dotted_path() {
        let row = json!({"meta": {"text": "nested", "a.b": "inner literal"}, "meta.text": "literal"});
        assert_eq!(pick(&row, &["meta.text"]), [json!("literal")]);
        assert_eq!(pick(&row, &["meta.a.b"]), [json!("inner literal")]);
    }

    #[test]
    fn a_dotted_path_goes_through_objects_and_lists() {
        let row = json!({"messages": [{"content": "hi"}, {"content": ["x", "y"]}]});
        let columns = ["messages.0.content", "messages.1.content.1", "messages.1.content"];
        assert_eq!(pick(&row, &columns), [json!("hi"), json!("y"), json!(["x", "y"])]);
    }

    #[test]
    fn what_is_missing_is_null() {
        let row = json!({"a": "text", "l": [1], "n": null});
        let columns = ["b", "a.b", "l.1", "l.x", "l.-1", "n", "n.x", "", ".", "a."];
        assert!(pick(&row, &columns).iter().all(Value::is_null));
    }

    #[test]
    fn a_column_that_is_named_twice_is_there_twice() {
        let row = json!({"a": {"b": "x"}});
        assert_eq!(pick(&row, &["a", "a.b", "a"]), [json!({"b": "x"}), json!("x"), json!({"b": "x"})]);
    }

    proptest! {
        #[test]
        fn a_picker_finds_what_find_finds(column in "[ab.0]{0,5}") {
            let row = json!({"a": {"b": 1, "a.b": 2, "0": [3, {"a": 4}]}, "b": [[5], "x"], "a.b": 6, ".": 7, "": {"": 8}});
            let found = find(&row, &column).cloned().unwrap_or_default();
            prop_assert_eq!(pick(&row, &[&column]), [found]);
        }
    }
}
