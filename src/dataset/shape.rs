//! A conversation as two fields: what was asked, and what the assistant answered.

use crate::record::text;
use serde_json::Value;
use std::borrow::Cow;

/// Who speaks and what is said, by the names that chat datasets use: `role` and `content`, or `from` and `value`.
struct Turn<'v> {
    role: &'v str,
    content: Cow<'v, str>,
}

/// The instruction and the output in a list of messages: everything up to the last user turn that an assistant turn
/// follows directly, and that assistant turn. `None` where there is no such pair, or no list of messages.
///
/// A user turn that stands alone is its own text. Where turns come before it, each begins with its role
/// (`system: …`), and an empty line stands between two of them.
pub(super) fn conversation(messages: &Value) -> Option<[String; 2]> {
    let turns: Vec<Turn> = messages.as_array()?.iter().map(turn).collect::<Option<_>>()?;
    let last = turns.iter().rposition(|turn| is_user(turn.role))?;
    let answer = turns.get(last + 1).filter(|turn| is_assistant(turn.role))?;
    let instruction = match &turns[..=last] {
        [alone] => alone.content.clone().into_owned(),
        turns => {
            let labelled = turns.iter().map(|turn| format!("{}: {}", role(turn.role), turn.content));
            labelled.collect::<Vec<_>>().join("\n\n")
        }
    };
    Some([instruction, answer.content.clone().into_owned()])
}

fn turn(message: &Value) -> Option<Turn<'_>> {
    let role = message.get("role").or_else(|| message.get("from"))?.as_str()?;
    let content = message.get("content").or_else(|| message.get("value"))?;
    Some(Turn { role, content: said(content) })
}

/// The text of a message; of one in parts (`[{"type": "text", "text": …}]`) the texts.
fn said(content: &Value) -> Cow<'_, str> {
    match content {
        Value::Array(parts) if parts.iter().all(|part| part.get("type").is_some()) => {
            let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
            Cow::Owned(texts.collect::<Vec<_>>().join("\n"))
        }
        other => text(other),
    }
}

fn is_user(role: &str) -> bool {
    matches!(role, "user" | "human")
}

fn is_assistant(role: &str) -> bool {
    matches!(role, "assistant" | "gpt" | "model" | "bot" | "chatgpt")
}

fn role(role: &str) -> &str {
    match role {
        role if is_user(role) => "user",
        role if is_assistant(role) => "assistant",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pair(messages: &Value) -> Option<[String; 2]> {
        conversation(messages)
    }

    #[test]
    fn one_exchange_is_the_two_texts() {
        let messages = json!([{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]);
        assert_eq!(pair(&messages), Some(["2 + 2?".into(), "4".into()]));
        let messages = json!([{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]);
        assert_eq!(pair(&messages), Some(["2 + 2?".into(), "4".into()]));
    }

    #[test]
    fn what_comes_before_the_last_user_turn_is_part_of_the_instruction() {
        let messages = json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "2 + 2?"},
            {"role": "assistant", "content": "4"},
            {"role": "user", "content": [{"type": "text", "text": "3 + 3?"}, {"type": "image"}]},
            {"role": "assistant", "content": "6"},
            {"role": "tool", "content": "left out"},
        ]);
        let instruction = "system: Be brief.\n\nuser: 2 + 2?\n\nassistant: 4\n\nuser: 3 + 3?";
        assert_eq!(pair(&messages), Some([instruction.into(), "6".into()]));
    }

    #[test]
    fn without_an_answer_to_the_last_user_turn_there_is_no_pair() {
        for messages in [
            json!([]),
            json!(null),
            json!("text"),
            json!({"role": "user"}),
            json!([{"role": "assistant", "content": "4"}]),
            json!([{"role": "user", "content": "2 + 2?"}]),
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]),
            json!([{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}, {"role": "assistant", "content": "c"}]),
            json!([{"role": "user"}, {"role": "assistant", "content": "c"}]),
            json!(["user", "assistant"]),
        ] {
            assert_eq!(pair(&messages), None, "{messages}");
        }
    }
}
