//! What the demo's people ask: bodies of every common workload, valid for the model they name.
//!
//! Prompts say what the simulated upstream understands (`write N words`, `use tool NAME`), so that answers have
//! a length and agents a loop. Bodies differ by `dice` only; the same throws give the same bodies.

use serde_json::{Value, json};

/// Seeded variety (SplitMix64); not for secrets.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below `bound`, which is at least 1.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        let index = usize::try_from(self.below(choices.len() as u64)).unwrap_or(0);
        choices.get(index).copied().unwrap_or_default()
    }
}

/// A question in a chat window, streamed.
pub(super) fn chat(dice: &mut Dice) -> Value {
    let question = dice.pick(&QUESTIONS);
    let words = 40 + dice.below(120);
    let model = dice.pick(&["claude-opus-5-5", "claude-opus-5-5", "claude-sonnet-5-5"]);
    json!({
        "model": model, "max_tokens": 1024, "stream": true,
        "system": "You are the assistant of an intranet. Be brief and friendly.",
        "messages": [{"role": "user", "content": format!("{question} Please write {words} words.")}],
    })
}

/// The title of a conversation.
pub(super) fn title(dice: &mut Dice) -> Value {
    let topic = dice.pick(&QUESTIONS);
    json!({
        "model": "claude-sonnet-5-5", "max_tokens": 32,
        "system": "Summarize this conversation in a title of at most six words. Answer with the title only.",
        "messages": [{"role": "user", "content": format!("Write a title for a conversation about: {topic}")}],
    })
}

/// Fields out of a mail, as JSON.
pub(super) fn extraction(dice: &mut Dice) -> Value {
    let order = 10_000 + dice.below(90_000);
    let city = dice.pick(&["Porto", "Graz", "Turku", "Lyon"]);
    json!({
        "model": "claude-opus-5-5", "max_tokens": 512,
        "messages": [{"role": "user", "content": format!("Extract the fields. Order {order} goes to {city}, two boxes.")}],
        "output_config": {"format": {"type": "json_schema", "schema": {
            "type": "object", "additionalProperties": false, "required": ["order", "city", "boxes"],
            "properties": {"order": {"type": "string"}, "city": {"type": "string"}, "boxes": {"type": "integer"}},
        }}},
    })
}

/// A story, streamed.
pub(super) fn story(dice: &mut Dice) -> Value {
    let hero = dice.pick(&["a lighthouse keeper", "a clockmaker", "two otters", "a night train"]);
    let words = 150 + dice.below(200);
    json!({
        "model": "claude-sonnet-5-5", "max_tokens": 4096, "stream": true,
        "messages": [{"role": "user", "content": format!("Tell a story about {hero}; write {words} words")}],
    })
}

/// A long scene, which costs the studio about two cents.
pub(super) fn scene(number: u64) -> Value {
    json!({
        "model": "claude-sonnet-5-5", "max_tokens": 2500,
        "messages": [{"role": "user", "content": format!("Scene {number} of the play: write 900 words")}],
    })
}

/// A line for the studio, which costs next to nothing.
pub(super) fn caption(dice: &mut Dice) -> Value {
    let words = 8 + dice.below(12);
    json!({
        "model": "claude-haiku-5-5", "max_tokens": 200,
        "messages": [{"role": "user", "content": format!("A caption for the poster: write {words} words")}],
    })
}

/// More than the studio has left, should it use all it asks for.
pub(super) fn novel() -> Value {
    json!({
        "model": "claude-opus-5-5", "max_tokens": 60_000, "stream": true,
        "messages": [{"role": "user", "content": "The whole novel, please: write 90 words"}],
    })
}

/// The same question every time.
pub(super) fn repeated() -> Value {
    json!({
        "model": "claude-sonnet-5-5", "max_tokens": 400,
        "messages": [{"role": "user", "content": "What does our style guide say about dates? write 60 words"}],
    })
}

/// A batch of labels to give overnight.
pub(super) fn batch(dice: &mut Dice) -> Value {
    let first = dice.below(9_000);
    let items = (first..first + 4).map(|number| {
        json!({"custom_id": format!("ticket-{number}"), "params": {
            "model": "claude-haiku-5-5", "max_tokens": 64,
            "messages": [{"role": "user", "content": format!("Label ticket {number}: question, fault or praise?")}],
        }})
    });
    json!({"requests": items.collect::<Vec<_>>()})
}

/// The first turn of a code review; further turns come of its answers.
pub(super) fn review(dice: &mut Dice) -> Value {
    let file = dice.pick(&["src/parser.rs", "src/store.rs", "web/cart.ts", "jobs/rollup.py"]);
    let tool = |name: &str, what: &str, argument: &str| {
        json!({"name": name, "description": what, "input_schema": {
            "type": "object", "required": [argument], "properties": {argument: {"type": "string"}}}})
    };
    let system = format!("You review code in a repository.\n{}", GUIDELINE.repeat(90));
    json!({
        "model": "claude-opus-5-5", "max_tokens": 2048, "stream": false,
        "system": [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}],
        "tools": [tool("read_file", "Reads a file", "path"), tool("run_tests", "Runs tests", "filter")],
        "messages": [{"role": "user", "content": format!("Review {file}; use tool read_file first.")}],
    })
}

/// Returns the next turn of a review after `answer`, or `None` once it is done.
///
/// Tool calls get results; the first answer without calls gets one more wish. At most `turns_max` turns.
pub(super) fn next_turn(mut body: Value, answer: &Value, turns_max: usize) -> Option<Value> {
    let content = answer.get("content")?.clone();
    let calls: Vec<Value> = content
        .as_array()?
        .iter()
        .filter(|block| block["type"] == "tool_use")
        .map(|call| {
            json!({"type": "tool_result", "tool_use_id": call["id"], "content": "120 lines, 14 tests pass"})
        })
        .collect();
    let messages = body.get_mut("messages")?.as_array_mut()?;
    let turns = messages.iter().filter(|message| message["role"] == "user").count();
    if turns >= turns_max {
        return None;
    }
    let reply =
        if calls.is_empty() { json!("Thank you. Now use tool run_tests.") } else { Value::from(calls) };
    messages.push(json!({"role": "assistant", "content": content}));
    messages.push(json!({"role": "user", "content": reply}));
    Some(body)
}

const QUESTIONS: [&str; 6] = [
    "How do I ask for leave?",
    "Which meeting room has a projector?",
    "What is a fair way to split a dinner bill?",
    "Explain why our nightly job retries three times, and prove that it terminates.",
    "Translate `good morning` into Finnish.",
    "Compare event sourcing with change data capture for an order system.",
];
const GUIDELINE: &str = "Name what a change breaks before what it improves; quote the line you speak of. ";
