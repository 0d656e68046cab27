use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::dataset::Column;
use crate::filter::scores::Scores;

fn lenses() -> Vec<Scores> {
    let lens = |lens: &str, fields: &[&str]| Scores {
        lens: lens.into(),
        fields: fields.iter().map(|&field| field.into()).collect(),
        scale: Some((1.0, 3.0)),
        has_verdicts: true,
    };
    vec![lens("quality", &["clarity", "overall"]), lens("my-lens", &["overall"])]
}

fn columns() -> Vec<Column> {
    [
        ("lang", "string"),
        ("text", "string"),
        ("year", "int64"),
        ("any", "number or string"),
        ("meta", "struct<lang: string>"),
        ("tags", "list<string>"),
        ("any name", "bool"),
        ("flag", "bool"),
        ("名前", "string"),
        ("my-col", "number"),
        ("price", "decimal128(10, 2)"),
    ]
    .map(|(name, kind)| Column { name: name.into(), kind: kind.into() })
    .into()
}

fn parse(source: &str) -> Result<Condition, Error> {
    Condition::parse(source, Names { scores: &lenses(), columns: &columns() })
}

/// Asks a condition of a row: an object with the lenses' names and `row`, in which keys are found as in a dataset.
fn ask(source: &str, row: &serde_json::Value) -> Result<bool, Unanswered> {
    let condition = parse(source).unwrap_or_else(|error| panic!("{error}"));
    let lenses = lenses();
    let values = condition.uses().iter().map(|name| {
        let found = match name {
            Name::Score(lens) => row.get(&lenses[*lens].lens),
            Name::Field(lens, field) => {
                row.get(format!("{}_{}", lenses[*lens].lens, lenses[*lens].fields[*field]))
            }
            Name::Column(path) => crate::record::pick::find(&row["row"], path),
        };
        found.map_or(Value::UNDEFINED, |found| value(found.clone()))
    });
    condition.holds(values.collect())
}

fn refused(source: &str) -> String {
    parse(source).map_or_else(|error| error.to_string(), |_| format!("{source} is accepted"))
}

fn row() -> serde_json::Value {
    json!({
        "quality": 2.5, "quality_clarity": 3, "quality_overall": 2.5, "my-lens": 1.5,
        "row": {
            "lang": "en", "text": "some words", "year": 2001, "any": "x", "meta": {"lang": "de"}, "tags": ["a", "b"],
            "any name": true, "flag": false, "null": null,
        },
    })
}

#[test]
fn names_are_scores_fields_and_columns() {
    for source in [
        "quality >= 2.5",
        "quality_clarity == 3 and quality_overall == quality",
        "my_lens < quality",
        "row.lang == 'en'",
        "row['lang'] == 'en' and row['any name']",
        "row.meta.lang == 'de'",
        "row['meta']['lang'] in ['de', 'fr']",
        "row.tags[1] == 'b' and row.tags.0 == 'a' and row.tags[-1] == 'b'",
        "1 < quality < 3",
        "1 < quality < quality_clarity <= 3 != 2",
        "not quality < 2",
        "row.year is gt 2000 and row.lang is in(['en']) and row.year is not in [1]",
        "row.text|length > 5 and row.text is startingwith 'some'",
        "row.text.upper().startswith('SOME') and 'word' in row.text",
        "row.lang not in ('de', 'fr')",
        "(row.year if row.flag else 3) == 3",
        "row.text[:4] == 'some' and row.text[::2]|length == 5",
        "[quality, quality_clarity]|max == 3 and [quality, my_lens]|min == 1.5",
        "row.tags|select('eq', 'a')|list|length == 1",
        "row.year // 2 == 1000 and row.year % 2 == 1 and 2 ** 3 == 8 and -row.year < 0",
        "row.lang ~ '-' ~ row.year == 'en-2001'",
        "row.text|replace('some', 'no') == 'no words' and row.tags|sort(reverse=true)|first == 'b'",
        "{'en': 1, 'de': 2}[row.lang] == 1",
        "row.meta == {'lang': 'de'} and 'lang' in row.meta",
        "row.any == 'x'",
        "true",
    ] {
        assert_eq!(ask(source, &row()), Ok(true), "{source}");
    }
    assert_eq!(ask("quality > 2.5", &row()), Ok(false));
    assert_eq!(parse("row.lang == 'a' or quality > 2 or row['lang'] == 'b'").unwrap().uses().len(), 2);
}

#[test]
fn a_column_of_the_literal_name_wins_over_a_path() {
    let mut row = row();
    row["row"]["meta.lang"] = json!("it");
    assert_eq!(ask("row.meta.lang == 'it' and row['meta.lang'] == 'it'", &row), Ok(true));
}

#[test]
fn a_row_in_which_any_name_is_missing_or_null_does_not_pass() {
    let mut row = row();
    row["row"]["lang"] = json!(null);
    row["row"].as_object_mut().unwrap().remove("year");
    for source in [
        "row.lang == 'en'",
        "quality > 1 or row.lang == 'en'",
        "not row.lang == 'en'",
        "row.year|default(1, true) == 1",
        "true or row.meta.nothing == 1",
        "row.tags[7] == 'a' or true",
        "row.tags[-7] == 'a'",
        "row.tags|select('eq', 'z')|first == 'a'",
    ] {
        assert_eq!(ask(source, &row), Err(Unanswered::Missing), "{source}");
    }
    let values = vec![Value::from(f64::NAN)];
    assert_eq!(parse("not quality < 2").unwrap().holds(values), Err(Unanswered::Missing));
}

#[test]
fn unlike_kinds_of_a_row_are_an_error_that_names_the_column() {
    let said = |source: &str| match ask(source, &row()) {
        Err(Unanswered::Wrong(text)) => text,
        other => panic!("{source}: {other:?}"),
    };
    insta::assert_snapshot!([
        said("row.any > 3"),
        said("quality >= 1 and row.any != 1"),
        said("1 < row.any < 3"),
        said("row.meta.lang == 3"),
        said("row.any in [1, 2]"),
        said("1 in row.any"),
        said("row.tags == [1, 2]"),
        said("1 in row.tags"),
        said("row.any|length > row.any"),
        said("row.any is gt 3"),
        said("row.tags|select('gt', 2)|list|length > 1"),
        said("[quality, row.any]|max > 1"),
        said("row.any + 1 > 2"),
        said("row.any and row.any"),
        said("row.any.keys()|length > 1"),
        said("row.any|float > 1"),
        said("row.any|int > 1"),
    ].join("\n"), @r#"
    `row.any` is text ("x") and 3 is a number: `>` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    `row.any` is text ("x") and 1 is a number: `!=` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    1 is a number and `row.any` is text ("x"): `<` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    `row.meta.lang` is text ("de") and 3 is a number: `==` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    `row.any` is text ("x"), but [1,2] holds a number: `in` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    1 is a number and `row.any` is text ("x"): `in` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    `row.tags` holds text and [1,2] holds a number: `==` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails); `row.tags` is a list (["a","b"])
    1 is a number, but `row.tags` holds text: `in` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails); `row.tags` is a list (["a","b"])
    an expression of `row.any` is a number (1) and `row.any` is text ("x"): `>` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    `row.any` is text ("x") and 3 is a number: `>` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    an item is text ("a") and a value is a number (2): `>` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails); `row.tags` is a list (["a","b"])
    an item is a number (2.5) and another is text ("x"): `<=` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails); `quality` is a number (2.5), `row.any` is text ("x")
    --where: tried to use + operator on unsupported types string and number; `row.any` is text ("x")
    --where must give true or false, but gives text ("x")
    --where: string has no method named keys; `row.any` is text ("x")
    --where: invalid float literal (|float(0) and |int(0) give 0 instead); `row.any` is text ("x")
    --where: invalid float literal (|float(0) and |int(0) give 0 instead); `row.any` is text ("x")
    "#);
    // What is not reached is not asked.
    assert_eq!(ask("quality >= 1 or row.any > 3", &row()), Ok(true));
    assert_eq!(ask("2 < 1 < row.any", &row()), Ok(false));
}

#[test]
fn what_can_be_known_before_any_row_is_an_error_at_once() {
    insta::assert_snapshot!([
        refused("quality >= 'good'"),
        refused("1 < quality < 'a'"),
        refused("row.lang > 3"),
        refused("row.year == '2001'"),
        refused("row.year in ['2001']"),
        refused("row.year in 2001"),
        refused("row.year is lt '2'"),
        refused("row.text|length > '3'"),
        refused("row.flag == 'true'"),
        refused("row.meta < {'lang': 1}"),
        refused("quality >= 25"),
        refused("0.5 < quality"),
        refused("quality == none"),
        refused("quality"),
        refused("quality + 1"),
        refused("row.text|length"),
        refused("qualty > 1"),
        refused("lang == 'en'"),
        refused("row.lnag == 'en'"),
        refused("row == 1"),
        refused("row[row.lang] == 1"),
        refused("row.text.upper == 'A'"),
        refused("row.text|nofilter"),
        refused("row.text is notest"),
        refused("row.text.nomethod()"),
        refused("range(3)|length == 3"),
        refused("row.text|replace(*[1, 2]) == ''"),
        refused("quality > 1 if row.flag"),
        refused("quality >"),
        refused("quality = 2"),
        refused("'abc"),
        refused(" "),
        refused("quality > 1 }} {{ 2"),
        refused("quality > 1 %} {% raw"),
        refused("\x1b[31m > 1"),
    ].join("\n"), @r#"
    --where `quality >= 'good'`: `quality` is a number and "good" is text: `>=` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    --where `1 < quality < 'a'`: `quality` is a number and "a" is text: `<` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    --where `row.lang > 3`: `row.lang` is text and 3 is a number: `>` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    --where `row.year == '2001'`: `row.year` is a number and "2001" is text: `==` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    --where `row.year in ['2001']`: `row.year` is a number, but ["2001"] holds text: `in` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    --where `row.year in 2001`: 2001 is a number, in which `in` finds nothing
    --where `row.year is lt '2'`: `row.year` is a number and "2" is text: `<` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    --where `row.text|length > '3'`: an expression of `row.text` is a number and "3" is text: `>` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    --where `row.flag == 'true'`: `row.flag` is true or false and "true" is text: `==` compares only like kinds (|float, |int and |string convert; |float(0) and |int(0) give 0 where that fails)
    --where `row.meta < {'lang': 1}`: `row.meta` is an object and so has no order for `<`
    --where `quality >= 25`: `quality` is from 1 to 3, and is compared (`>=`) with 25
    --where `0.5 < quality`: `quality` is from 1 to 3, and is compared (`<`) with 0.5
    --where `quality == none`: nothing compares (`==`) with none: a row in which a name is missing or null does not pass anyway
    --where `quality`: --where must give true or false, but gives a number
    --where `quality + 1`: --where must give true or false, but gives a number
    --where `row.text|length`: --where must give true or false, but gives a number
    --where `qualty > 1`: unknown name `qualty` (did you mean `quality`?); lenses: quality, my-lens; fields: quality_clarity, quality_overall, my-lens_overall; columns: row.lang, row.text, row.year, row.any, row.meta, row.tags, row.any name, row.flag, row.名前, row.my-col, row.price
    --where `lang == 'en'`: unknown name `lang` (did you mean `row.lang`?); lenses: quality, my-lens; fields: quality_clarity, quality_overall, my-lens_overall; columns: row.lang, row.text, row.year, row.any, row.meta, row.tags, row.any name, row.flag, row.名前, row.my-col, row.price
    --where `row.lnag == 'en'`: unknown name `row.lnag` (did you mean `row.lang`?); lenses: quality, my-lens; fields: quality_clarity, quality_overall, my-lens_overall; columns: row.lang, row.text, row.year, row.any, row.meta, row.tags, row.any name, row.flag, row.名前, row.my-col, row.price
    --where `row == 1`: `row` is all columns: name one, `row.<column>`
    --where `row[row.lang] == 1`: `row[…]` takes the name of a column, in quotes
    --where `row.text.upper == 'A'`: column `text` is text, and has no `upper` within it (a method is written with brackets: `.lower()`)
    --where `row.text|nofilter`: there is no filter `nofilter`
    --where `row.text is notest`: there is no test `notest`
    --where `row.text.nomethod()`: there is no method `nomethod`
    --where `range(3)|length == 3`: there are no functions in conditions; there are filters, as in `row.text|length`
    --where `row.text|replace(*[1, 2]) == ''`: arguments with `*` are not taken
    --where `quality > 1 if row.flag`: `if` needs an `else`
    --where `quality >`: unexpected end of input, expected expression
    --where `quality = 2`: unexpected input after expression at character 9 (equal is `==`)
    --where `'abc`: unexpected end of string
    --where ` `: is empty
    --where `quality > 1 }} {{ 2`: unexpected input after end of variable block at character 15
    --where `quality > 1 %} {% raw`: unexpected `}` at character 14
    --where `\u{1b}[31m > 1`: unexpected character at character 1
    "#);
}

#[test]
fn an_expression_that_cannot_be_read_says_where_and_what_may_be_meant() {
    insta::assert_snapshot!([
        refused("quality > 1 && row.flag"),
        refused("quality > 1 || row.flag"),
        refused("!row.flag"),
        refused("quality > 1 AND row.flag"),
        refused("quality > 1 OR row.flag"),
        refused("NOT row.flag"),
        refused("row.lang == 'é' = 2"),
        refused("row.名前 == 'x'"),
        refused("row.名 == 'x'"),
        refused("row.any name"),
        refused("row.my-col > 1"),
        refused("row.lang == 'a && b"),
        refused("quality >= (1"),
        refused("quality != 1 )"),
    ].join("\n"), @"
    --where `quality > 1 && row.flag`: unexpected character at character 13 (write `and`, not `&&`)
    --where `quality > 1 || row.flag`: unexpected `|`, expected identifier at character 14 (write `or`, not `||`)
    --where `!row.flag`: unexpected character at character 1 (write `not`, not `!`)
    --where `quality > 1 AND row.flag`: unexpected input after expression at character 13 (write `and` in small letters)
    --where `quality > 1 OR row.flag`: unexpected input after expression at character 13 (write `or` in small letters)
    --where `NOT row.flag`: unexpected input after expression at character 5 (write `not` in small letters)
    --where `row.lang == 'é' = 2`: unexpected input after expression at character 17 (equal is `==`)
    --where `row.名前 == 'x'`: unexpected character at character 5 (column `名前` is written row['名前'])
    --where `row.名 == 'x'`: unexpected character at character 5 (a name of other characters than a-z, A-Z, 0-9 and _ is quoted: row['名前'])
    --where `row.any name`: unexpected input after expression at character 9 (column `any name` is written row['any name'])
    --where `row.my-col > 1`: unknown name `row.my` (did you mean `row.any`?); lenses: quality, my-lens; fields: quality_clarity, quality_overall, my-lens_overall; columns: row.lang, row.text, row.year, row.any, row.meta, row.tags, row.any name, row.flag, row.名前, row.my-col, row.price (column `my-col` is written row['my-col'])
    --where `row.lang == 'a && b`: unexpected end of string
    --where `quality >= (1`: unexpected end of input, expected `)`
    --where `quality != 1 )`: unexpected input after expression at character 14
    ");
}

#[test]
fn what_asks_whether_a_name_is_there_is_refused_since_it_never_matters() {
    insta::assert_snapshot!([
        refused("row.lang is none"),
        refused("row.lang is not none and quality > 1"),
        refused("row.meta.x is defined"),
        refused("quality is undefined"),
        refused("row.lang|default('en') == 'en'"),
        refused("row.lang|d('en') == 'en'"),
    ].join("\n"), @"
    --where `row.lang is none`: `is none` can never matter: a row in which `row.lang` is missing or null is dropped before it is asked
    --where `row.lang is not none and quality > 1`: `is none` can never matter: a row in which `row.lang` is missing or null is dropped before it is asked
    --where `row.meta.x is defined`: `is defined` can never matter: a row in which `row.meta.x` is missing or null is dropped before it is asked
    --where `quality is undefined`: `is undefined` can never matter: a row in which `quality` is missing or null is dropped before it is asked
    --where `row.lang|default('en') == 'en'`: `|default` can never matter: a row in which `row.lang` is missing or null is dropped before it is asked
    --where `row.lang|d('en') == 'en'`: `|default` can never matter: a row in which `row.lang` is missing or null is dropped before it is asked
    ");
    // An empty text is there, and a list may have no first item.
    assert!(parse("row.lang|default('en', true) == 'en'").is_ok());
    assert!(parse("row.tags|first is defined").is_ok());
}

#[test]
fn decimals_are_compared_as_numbers() {
    assert!(parse("row.price > 1.5").is_ok());
    assert!(refused("row.price == '1.5'").contains("`row.price` is a number and"));
}

#[test]
fn a_very_long_or_deep_condition_is_refused_and_does_not_overflow() {
    for deep in
        ["-".repeat(5_000), "not ".repeat(5_000), "(".repeat(5_000), "1+".repeat(2_000), "[".repeat(500)]
    {
        assert!(parse(&format!("{deep}quality")).is_err());
    }
    let nested = format!("{}quality{} > 1", "(".repeat(100), ")".repeat(100));
    assert!(refused(&nested).contains("recursion"), "{}", refused(&nested));
    let deep = format!("{}quality > 1", "not ".repeat(100));
    assert!(refused(&deep).contains("nested too deeply"));
    let long = vec!["quality > 1"; 190].join(" and ");
    assert_eq!(ask(&long, &row()), Ok(true));
    let languages: Vec<String> = (0..5_000).map(|n| format!("'l{n}'")).collect();
    assert_eq!(ask(&format!("row.lang not in [{}]", languages.join(",")), &row()), Ok(true));
    let chained = format!("{}quality{}", "1 < (1 if 1 < ".repeat(20), " < 3 else 2)".repeat(20));
    assert!(parse(&chained).is_ok());
}

#[test]
fn constants_are_never_read_as_code() {
    let mut row = row();
    row["row"]["text"] = json!("\"'\\ {{ 1 }} %} \n é \u{1F600}");
    let source = r#"row.text == "\"'\\ {{ 1 }} %} \n é 😀" "#;
    assert_eq!(ask(source, &row), Ok(true));
}

/// An expression of true or false over numbers `quality`, `row.year`, and texts `row.lang`, `row.text`.
fn truth() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        Just("quality".to_owned()),
        Just("row.year".to_owned()),
        Just("row.tags|length".to_owned()),
        (1..4).prop_map(|n: i32| n.to_string()),
        Just("1.5".to_owned()),
    ]
    .prop_recursive(2, 6, 2, |inner| {
        (inner.clone(), prop::sample::select(vec!["+", "-", "*", "%", "//", "**"]), inner)
            .prop_map(|(left, sign, right)| format!("({left} {sign} {right})"))
    });
    let text = prop_oneof![
        Just("row.lang".to_owned()),
        Just("row.text".to_owned()),
        Just("'en'".to_owned()),
        Just("row.tags[0]".to_owned()),
        Just("row.text[1:3]".to_owned()),
        Just("(row.lang ~ row.year)".to_owned()),
    ];
    let sign = || prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        // Off-scale numbers beside a bare score are refused, so the score is in brackets with another.
        (number.clone(), sign(), number.clone())
            .prop_map(|(a, sign, b)| format!("({a}) + 0 {sign} ({b}) + 0")),
        (number.clone(), sign(), number.clone(), sign(), number.clone())
            .prop_map(|(a, s, b, t, c)| format!("({a}) + 0 {s} ({b}) + 0 {t} ({c}) + 0")),
        (text.clone(), sign(), text.clone()).prop_map(|(a, sign, b)| format!("{a} {sign} {b}")),
        (text.clone(), text.clone()).prop_map(|(a, b)| format!("{a} in {b}")),
        (text.clone(), text.clone()).prop_map(|(a, b)| format!("{a} not in ['a', {b}]")),
        (number, prop::sample::select(vec!["is gt", "is le", "is ne"]))
            .prop_map(|(a, test)| format!("({a} + 0) {test} 2")),
        Just("row.flag".to_owned()),
        Just("row['any name']".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} and {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} or {b}")),
            inner.clone().prop_map(|a| format!("not {a}")),
            inner.clone().prop_map(|a| format!("({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) == ({b})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a} if {b} else {c})")),
        ]
    })
}

/// An expression over [`row`], and what it is by hand.
fn by_hand() -> impl Strategy<Value = (String, bool)> {
    let numbers = [("quality", 2.5_f64), ("quality_clarity", 3.0), ("my_lens", 1.5), ("row.year", 2001.0)];
    let side = prop::sample::select(numbers.to_vec());
    let signs = [("<", Op::Lt), ("<=", Op::Le), (">", Op::Gt), (">=", Op::Ge)];
    let leaf = (side.clone(), prop::sample::select(signs.to_vec()), side, 0..3_i32);
    let leaf = leaf.prop_map(|((a, x), (sign, op), (b, y), add)| {
        (format!("{a} {sign} {b} + {add}"), op.holds(x.total_cmp(&(y + f64::from(add)))))
    });
    leaf.prop_recursive(4, 16, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|((a, x), (b, y))| (format!("({a} and {b})"), x && y)),
            (inner.clone(), inner.clone()).prop_map(|((a, x), (b, y))| (format!("({a} or {b})"), x || y)),
            inner.prop_map(|(a, x)| (format!("(not {a})"), !x)),
        ]
    })
}

proptest! {
    #[test]
    fn a_condition_is_what_it_is_by_hand((source, expected) in by_hand(), missing in 0..5_usize) {
        let mut row = row();
        prop_assert_eq!(ask(&source, &row), Ok(expected));
        // Taking away any one value that it uses makes it missing, wherever that stands.
        let (key, is_column) =
            [("quality", false), ("quality_clarity", false), ("my-lens", false), ("year", true), ("lang", true)][missing];
        let name = if is_column { format!("row.{key}") } else { key.replace('-', "_") };
        let is_used = source.split(|c: char| !c.is_alphanumeric() && !"_.".contains(c)).any(|word| word == name);
        if is_column { row["row"][key] = json!(null) } else { row[key] = json!(null) }
        prop_assert_eq!(ask(&source, &row), if is_used { Err(Unanswered::Missing) } else { Ok(expected) });
    }

    #[test]
    fn rewriting_keeps_the_meaning(source in truth(), quality in 1..=3_i32, year in -2..4_i64, lang in "[a-e]{0,2}") {
        let mut row = row();
        row["quality"] = json!(f64::from(quality));
        row["row"]["year"] = json!(year);
        row["row"]["lang"] = json!(lang);
        let plain = environment();
        let expected = plain.compile_expression(&source).unwrap().eval(value(row.clone()));
        let ours = ask(&source, &row);
        match expected {
            Ok(value) if kind(&value) == Some(Kind::Bool) && ours != Err(Unanswered::Missing) => {
                // A chain takes all of its sides, also one that cannot be calculated.
                let is_stopped = matches!(&ours, Err(Unanswered::Wrong(text)) if text.contains("unable to calculate"));
                prop_assert!(is_stopped || ours == Ok(value.is_true()), "{:?}, not {}", ours, value);
            }
            // A division by zero, or NaN of one, is no answer.
            expected => prop_assert!(ours.is_err() || expected.is_ok(), "{:?} {:?}", expected, ours),
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(source in "\\PC{0,40}|[a-z0-9'\"()\\[\\]{}<>=!|.,+*/%~ -]{0,60}") {
        let _ = parse(&source);
    }
}
