//! Conversations in which texts are redacted: thinking is signed over what the upstream saw, and must stay bound to it.

use serde_json::{Value, json};
use tercet::simulated::Behaviour;

use super::support::http::message;
use super::support::{ACME, House, TENANTS};
use super::{REDACT, guarded, placeholder, sent};

fn body(messages: &[Value]) -> String {
    json!({ "model": "claude-opus-5-5", "max_tokens": 4000, "thinking": { "type": "adaptive", "display": "summarized" },
        "tools": [{ "name": "mail", "description": "Sends mail for boss@acme.io", "input_schema": { "type": "object" } }],
        "messages": messages })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_history_stays_valid_over_turns_tools_and_a_restart() {
    let mut house = guarded(REDACT).await;
    let mut messages = vec![json!({ "role": "user", "content": "mail ada@acme.io, not xada@acme.io" })];
    for turn in 0..6 {
        if turn > 0 {
            let mail = placeholder(&sent(&house));
            house.upstream.script(match turn % 2 {
                0 => Behaviour::Say { text: format!("I wrote to {mail} (bob@acme.io knows).") },
                _ => Behaviour::CallTool {
                    name: "mail".to_owned(),
                    input: json!({ "to": mail, "cc": "carl@acme.io" }),
                },
            });
        }
        if turn == 3 {
            // Another process with the same key: nothing of it was kept anywhere.
            let (upstream, folder) = house.stop().await;
            house = House::start_before(upstream, folder, &format!("{TENANTS}\n{REDACT}")).await;
        }
        let answer = message(&house.url, ACME, body(&messages)).await;
        assert_eq!(answer.status, 200, "turn {turn}: {}", String::from_utf8_lossy(&answer.body));
        let content = answer.json()["content"].clone();
        let blocks = content.as_array().unwrap();
        assert!(blocks.iter().any(|block| block["type"] == "thinking"), "turn {turn}: {content}");
        let up = sent(&house);
        assert!(!up.contains("ada@acme.io") && !up.contains("boss@acme.io"), "{up}");
        let calls: Vec<Value> = blocks
            .iter()
            .filter(|block| block["type"] == "tool_use")
            .map(|block| {
                assert!(!block["input"].to_string().contains("REDACTED"), "{block}");
                json!({ "type": "tool_result", "tool_use_id": block["id"], "content": "sent to ada@acme.io and dora@acme.io" })
            })
            .collect();
        messages.push(json!({ "role": "assistant", "content": content }));
        let next = if calls.is_empty() { json!("and now tell bob@acme.io") } else { json!(calls) };
        messages.push(json!({ "role": "user", "content": next }));
    }
    // Every request began with what the one before it had been.
    let requests = house.upstream.requests();
    let told: Vec<Value> = requests.iter().map(|seen| serde_json::from_slice(&seen.body).unwrap()).collect();
    for pair in told.windows(2) {
        let (before, after) =
            (pair[0]["messages"].as_array().unwrap(), pair[1]["messages"].as_array().unwrap());
        assert_eq!(before[..], after[..before.len()]);
    }
    assert!(told.len() >= 6);
}
