//! What the simulated model says: deterministic, a pure function of the request, the seed and the script.
//!
//! Skills: echoes the last user text; `say WORDS` repeats words; `write N words` writes that many; `use tool NAME` or
//! a word of a tool's name calls tools with inputs that satisfy their schema; tool results get a final text;
//! structured output satisfies its schema; stop sequences and `max_tokens` cut. Thinking comes first where it is on.

use serde_json::{Map, Value, json};

use super::behaviour::Behaviour;
use super::models::Model;
use super::{blocks, canonical, rules, schema, tool_rules};

/// The content of an answer and how it ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub blocks: Vec<Value>,
    pub stop_reason: String,
    pub stop_sequence: Option<String>,
    pub stop_details: Value,
    pub thinking_tokens: u64,
    pub output_tokens: u64,
    pub web_searches: u64,
}

/// What a draft is made from.
#[derive(Debug)]
pub(super) struct Brief<'a> {
    pub body: &'a Map<String, Value>,
    pub messages: &'a [Value],
    pub model: &'a Model,
    pub script: &'a [Behaviour],
    /// Signs thinking.
    pub signature: String,
    /// Makes tool ids unique.
    pub request_id: &'a str,
    pub seed: u64,
}

/// Composes an answer.
pub(super) fn compose(brief: &Brief<'_>) -> Draft {
    let mut draft = Draft { stop_reason: "end_turn".to_owned(), ..Draft::default() };
    if let Some(Behaviour::Refusal { category }) =
        brief.script.iter().find(|behaviour| matches!(behaviour, Behaviour::Refusal { .. }))
    {
        draft.stop_reason = "refusal".to_owned();
        draft.stop_details =
            json!({ "type": "refusal", "category": category, "explanation": "Declined by script." });
        return draft;
    }
    let most = brief.body.get("max_tokens").and_then(Value::as_u64).unwrap_or(u64::MAX);
    if most == 0 {
        draft.stop_reason = "max_tokens".to_owned();
        return draft;
    }
    if brief.body.get("compaction").is_some_and(Value::is_object) {
        let summary = format!("Summary of {} messages.", brief.messages.len());
        draft.output_tokens = canonical::tokens_of(&summary, brief.model);
        draft.blocks.push(json!({ "type": "compaction", "content": summary, "signature": brief.signature }));
        draft.stop_reason = "compaction".to_owned();
        return draft;
    }
    let calls = tool_calls(brief);
    if !think(brief, most, calls.is_empty(), &mut draft) {
        return draft;
    }
    web_search(brief, &mut draft);
    speak(brief, &calls, most, &mut draft);
    if let Some(Behaviour::StopReason { reason }) =
        brief.script.iter().find(|behaviour| matches!(behaviour, Behaviour::StopReason { .. }))
    {
        draft.stop_reason.clone_from(reason);
    }
    draft
}

/// Adds thinking where it is on; false where it used up `max_tokens`.
fn think(brief: &Brief<'_>, most: u64, no_calls: bool, draft: &mut Draft) -> bool {
    let between = rules::thinking_type(brief.body) == Some("between_tools") && !no_calls;
    let on = rules::thinks(brief.body, brief.model) || between;
    if !on || tool_rules::forced(brief.body) {
        return true;
    }
    let number = blake3::hash(&[brief.seed.to_le_bytes(), hash_of(brief).to_le_bytes()].concat());
    draft.thinking_tokens = 64 + u64::from(number.as_bytes()[0]) % 64;
    if draft.thinking_tokens >= most {
        draft.thinking_tokens = most;
        draft.output_tokens = most;
        draft.stop_reason = "max_tokens".to_owned();
        return false;
    }
    let display =
        brief.body.get("thinking").and_then(|thinking| thinking.get("display")).and_then(Value::as_str);
    let shown = match display {
        Some(display) => display == "summarized",
        None => !brief.model.omits_thinking(),
    };
    let text = if shown { "Weighing what was asked before answering it." } else { "" };
    draft.blocks.push(json!({ "type": "thinking", "thinking": text, "signature": brief.signature }));
    draft.output_tokens = draft.thinking_tokens;
    true
}

fn hash_of(brief: &Brief<'_>) -> u64 {
    let hash = blake3::hash(Value::from(brief.messages.to_vec()).to_string().as_bytes());
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap_or_default())
}

fn web_search(brief: &Brief<'_>, draft: &mut Draft) {
    let scripted = brief.script.iter().find_map(|behaviour| match behaviour {
        Behaviour::WebSearches { count } => Some(*count),
        _ => None,
    });
    let tools = tool_rules::tools_of(brief.body);
    let offered = tools.iter().any(|tool| blocks::kind(tool).starts_with("web_search_"));
    let asked = offered && last_user_text(brief.messages).contains("search the web");
    draft.web_searches = scripted.unwrap_or(u64::from(asked));
    if !asked {
        return;
    }
    let id = format!("srvtoolu_{}", &blake3::hash(brief.request_id.as_bytes()).to_hex().as_str()[..24]);
    draft.blocks.push(
        json!({ "type": "server_tool_use", "id": id, "name": "web_search", "input": { "query": "simulated" } }),
    );
    let found = json!([{ "type": "web_search_result", "title": "A page", "url": "https://example.com/",
        "encrypted_content": "c2ltdWxhdGVk", "page_age": null }]);
    draft.blocks.push(json!({ "type": "web_search_tool_result", "tool_use_id": id, "content": found }));
    draft.output_tokens += 20;
}

fn speak(brief: &Brief<'_>, calls: &[Value], most: u64, draft: &mut Draft) {
    let mut text = text_of(brief, !calls.is_empty());
    let stops = brief.body.get("stop_sequences").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let stop = stops
        .iter()
        .filter_map(Value::as_str)
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| text.find(stop).map(|place| (place, stop)))
        .min();
    let stopped = stop.map(|(place, stop)| (place, stop.to_owned()));
    if let Some((place, _)) = &stopped {
        text.truncate(*place);
    }
    let room = most.saturating_sub(draft.output_tokens);
    let needed = canonical::tokens_of(&text, brief.model);
    if needed > room {
        let mut end = usize::try_from(room * 3).unwrap_or(usize::MAX).min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        draft.output_tokens = most;
        draft.stop_reason = "max_tokens".to_owned();
    } else {
        draft.output_tokens += needed.max(1);
        if let Some((_, stop)) = stopped {
            draft.stop_reason = "stop_sequence".to_owned();
            draft.stop_sequence = Some(stop);
        }
    }
    if !text.is_empty() {
        draft.blocks.push(json!({ "type": "text", "text": text }));
    }
    if draft.stop_reason != "end_turn" || calls.is_empty() {
        return;
    }
    for call in calls {
        draft.output_tokens += canonical::tokens_of(&call.to_string(), brief.model);
    }
    if draft.output_tokens > most {
        draft.output_tokens = most;
        draft.stop_reason = "max_tokens".to_owned();
        return;
    }
    draft.blocks.extend(calls.iter().cloned());
    draft.stop_reason = "tool_use".to_owned();
}

fn text_of(brief: &Brief<'_>, calls: bool) -> String {
    for behaviour in brief.script {
        if let Behaviour::Say { text } = behaviour {
            return text.clone();
        }
    }
    let format = brief.body.get("output_config").and_then(|config| config.get("format"));
    let format = format.or_else(|| brief.body.get("output_format")).and_then(|format| format.get("schema"));
    let asked = last_user_text(brief.messages);
    if tool_rules::forced(brief.body) {
        return String::new();
    }
    if calls {
        return "Let me look.".to_owned();
    }
    if let Some(schema) = format {
        return schema::example(schema, &asked).to_string();
    }
    if let Some(result) = tool_result_text(brief.messages) {
        return format!("The tool answered: {result}");
    }
    if let Some(words) = asked.strip_prefix("say ") {
        return words.to_owned();
    }
    if let Some(count) = word_count(&asked) {
        return vec!["verse"; count].join(" ");
    }
    let echo: String = asked.chars().take(200).collect();
    format!("This is a simulated answer to: {echo}")
}

/// Returns the text of the last block of the last user message that has any.
fn last_user_text(messages: &[Value]) -> String {
    let last = messages.iter().rev().find(|message| blocks::role(message) == "user");
    let texts = canonical::text_blocks(last.and_then(|message| message.get("content")));
    let text = texts.iter().rev().find_map(|block| block.get("text").and_then(Value::as_str));
    text.unwrap_or("").to_owned()
}

fn tool_result_text(messages: &[Value]) -> Option<String> {
    let last = messages.iter().rev().find(|message| blocks::role(message) != "system")?;
    let result = blocks::content(last).iter().rev().find(|block| blocks::kind(block) == "tool_result")?;
    let texts = canonical::text_blocks(result.get("content"));
    let text = texts.iter().find_map(|block| block.get("text").and_then(Value::as_str)).unwrap_or("nothing");
    Some(text.chars().take(200).collect())
}

/// Reads `write N words`; at most 200,000.
fn word_count(asked: &str) -> Option<usize> {
    let (_, after) = asked.split_once("write ")?;
    let (number, rest) = after.split_once(' ')?;
    let count: usize = number.parse().ok()?;
    rest.starts_with("words").then_some(count.min(200_000))
}

/// Returns the tool_use blocks of the answer, if it calls tools.
fn tool_calls(brief: &Brief<'_>) -> Vec<Value> {
    for behaviour in brief.script {
        if let Behaviour::CallTool { name, input } = behaviour {
            return vec![tool_use(brief, 0, name, input)];
        }
    }
    let tools: Vec<&Value> =
        tool_rules::tools_of(brief.body).iter().filter(|tool| is_client_tool(tool)).collect();
    let choice = brief.body.get("tool_choice");
    let asked = last_user_text(brief.messages);
    let named = |name: &str| tools.iter().filter(|tool| tool["name"] == name).take(1).copied().collect();
    let chosen: Vec<&Value> = match tool_rules::choice_type(brief.body) {
        Some("none") => Vec::new(),
        Some("tool") => named(choice.and_then(|choice| choice["name"].as_str()).unwrap_or("")),
        Some("any") => tools.first().copied().into_iter().collect(),
        _ if tool_result_text(brief.messages).is_some() => Vec::new(),
        _ => wanted(&tools, &asked),
    };
    let single = choice.is_some_and(|choice| choice["disable_parallel_tool_use"] == true);
    let most = if single { 1 } else { 8 };
    let made = chosen.into_iter().take(most).enumerate();
    made.map(|(place, tool)| {
        tool_use(brief, place, tool["name"].as_str().unwrap_or(""), &input(tool, &asked))
    })
    .collect()
}

fn wanted<'a>(tools: &[&'a Value], asked: &str) -> Vec<&'a Value> {
    let name = |tool: &Value| tool["name"].as_str().unwrap_or("").to_owned();
    let explicit: Vec<&Value> =
        tools.iter().filter(|tool| asked.contains(&format!("use tool {}", name(tool)))).copied().collect();
    if !explicit.is_empty() {
        return explicit;
    }
    let lower = asked.to_lowercase();
    let words: Vec<&str> = lower.split(|letter: char| !letter.is_alphanumeric()).collect();
    let hinted = tools.iter().find(|tool| {
        let name = name(tool).to_lowercase();
        let parts: Vec<&str> = name.split(['_', '-']).collect();
        parts.len() > 1
            && parts.iter().any(|part| part.len() > 3 && !VERBS.contains(part) && words.contains(part))
    });
    hinted.copied().into_iter().collect()
}

fn is_client_tool(tool: &Value) -> bool {
    let kind = blocks::kind(tool);
    let known = ["bash_", "text_editor_", "memory_"].iter().any(|prefix| kind.starts_with(prefix));
    (kind.is_empty() || kind == "custom" || known) && tool["defer_loading"] != true
}

fn input(tool: &Value, hint: &str) -> Value {
    match blocks::kind(tool) {
        kind if kind.starts_with("bash_") => json!({ "command": "echo ok" }),
        kind if kind.starts_with("text_editor_") => json!({ "command": "view", "path": "/tmp" }),
        kind if kind.starts_with("memory_") => json!({ "command": "view", "path": "/memories" }),
        _ => {
            let mut input = schema::example(&tool["input_schema"], hint);
            // Some clients run what they are told, so a command is always harmless.
            if input.get("command").is_some_and(Value::is_string) {
                input["command"] = json!("echo ok");
            }
            input
        }
    }
}

fn tool_use(brief: &Brief<'_>, place: usize, name: &str, input: &Value) -> Value {
    let id = blake3::hash(format!("{} {place}", brief.request_id).as_bytes()).to_hex();
    json!({ "type": "tool_use", "id": format!("toolu_01{}", &id.as_str()[..22]), "name": name, "input": input })
}

const VERBS: &[&str] = &["read", "list", "search", "find", "create", "make", "tool", "write", "call", "with"];
