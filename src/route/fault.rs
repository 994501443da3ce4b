//! What makes an answer of a lower tier worth asking for again one tier up.

use serde::Deserialize;
use serde_json::Value;

use crate::wire::schema::breaks;
use crate::wire::transcript::Transcript;

/// What was asked of an answer; read from the body only when one is judged.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    max_tokens: Option<u64>,
    tools: Vec<WantedTool>,
    output_config: WantedOutput,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WantedTool {
    name: String,
    input_schema: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WantedOutput {
    format: Option<WantedFormat>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WantedFormat {
    schema: Value,
}

impl Wanted {
    /// Reads it from a request's body; `None` where that is not as expected.
    #[must_use]
    pub fn of(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// Returns what is wrong with an answer, as a code, where something surely is.
    #[must_use]
    pub fn fault(&self, answer: &Transcript) -> Option<&'static str> {
        let stopped = answer.stop_reason.as_deref();
        if stopped == Some("refusal") {
            return Some("escalated-refusal");
        }
        if stopped == Some("max_tokens") {
            // At the limit that was asked for the client cut it; far below it the model did.
            let far_below =
                self.max_tokens.is_some_and(|asked| answer.output_tokens.saturating_mul(2) < asked);
            return far_below.then_some("escalated-cut");
        }
        let silent = answer.text.trim().is_empty() && answer.calls.is_empty() && !answer.other_blocks;
        if stopped == Some("end_turn") && silent {
            return Some("escalated-empty");
        }
        if answer.calls.iter().any(|(name, input)| self.misused(name, input.as_ref())) {
            return Some("escalated-arguments");
        }
        let format = self.output_config.format.as_ref().filter(|_| answer.calls.is_empty() && !silent)?;
        let value: Option<Value> = serde_json::from_str(&answer.text).ok();
        let kept = value.is_some_and(|value| !breaks(&value, &format.schema));
        (!kept).then_some("escalated-structure")
    }

    /// Tools that are not declared with a schema are the upstream's own.
    fn misused(&self, name: &str, input: Option<&Value>) -> bool {
        let declared = self.tools.iter().find(|tool| tool.name == name);
        let schema = declared.map(|tool| &tool.input_schema).filter(|schema| schema.is_object());
        schema.is_some_and(|schema| input.is_none_or(|input| breaks(input, schema)))
    }
}
