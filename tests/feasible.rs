//! Every model against every dimension against every target, judged by the simulated upstream's own tables: what is
//! valid for the asked model and called feasible for a target is answered by the target, and answered alike.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

#[path = "feasible/dimensions.rs"]
mod dimensions;
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use dimensions::{DIMENSIONS, first_turn};
use http::Method;
use serde_json::{Value, json};
use support::http::{Answer, send};
use tercet::catalog::Catalog;
use tercet::config::{self, Config};
use tercet::route::{Ahead, Asked, Candidate, Facts, decide};
use tercet::simulated::{Options, Upstream};
use tercet::tier::{Complexity, Tier};
use tercet::wire::envelope;
use tercet::wire::splice::Splice;

const MODELS: [&str; 18] = [
    "claude-fable-5-2",
    "claude-mythos-5-2",
    "claude-fable-5-1",
    "claude-mythos-5-1",
    "claude-fable-5",
    "claude-mythos-5",
    "claude-opus-5-5",
    "claude-opus-5",
    "claude-opus-4-8",
    "claude-opus-4-7",
    "claude-opus-4-6",
    "claude-opus-4-5",
    "claude-sonnet-5-5",
    "claude-sonnet-5",
    "claude-sonnet-4-6",
    "claude-sonnet-4-5",
    "claude-haiku-5-5",
    "claude-haiku-4-5",
];
const VERSIONS: [&str; 2] = ["2023-06-01", "2026-10-21"];
/// Asked with a prompt that only the larger contexts hold; few, as it is long.
const LONG: [&str; 2] = ["claude-opus-4-8", "claude-sonnet-4-6"];
/// What the ceiling says, and not the request.
const PREFERENCES: [&str; 4] = ["same-tier", "above-ceiling", "dearer", "no-saving"];

/// A request as it is asked.
struct Request {
    asked: &'static str,
    version: &'static str,
    betas: &'static str,
    body: Bytes,
}

impl Request {
    fn names_tier(&self) -> bool {
        String::from_utf8_lossy(&self.body).contains("service_tier")
    }
}

struct World {
    upstream: Upstream,
    catalog: Catalog,
    config: Config,
}

impl World {
    async fn start() -> Arc<Self> {
        let options = Options { verified: true, priority: true, ..Options::default() };
        let config = config::parse("[routing]\nmode = \"enforce\"\n", None, &|_| None).unwrap();
        let upstream = Upstream::start(options).await.unwrap();
        Arc::new(Self { upstream, catalog: Catalog::embedded().unwrap(), config })
    }

    async fn send(&self, request: &Request, body: Bytes) -> Answer {
        let mut headers = vec![("x-api-key", "acme.1"), ("anthropic-version", request.version)];
        if !request.betas.is_empty() {
            headers.push(("anthropic-beta", request.betas));
        }
        send(Method::POST, &format!("{}/v1/messages", self.upstream.url()), &headers, body).await
    }

    /// Judges a request for a target, preferences of the ceiling left out; the body is the one that would be sent.
    fn judge(&self, request: &Request, target: &str) -> Option<Bytes> {
        let envelope = envelope::read(&request.body).unwrap();
        let betas: Vec<&str> = request.betas.split(',').filter(|beta| !beta.is_empty()).collect();
        let facts = Facts {
            api_version: request.version,
            betas: &betas,
            override_tier: None,
            route_off: false,
            past: None,
            ahead: &Ahead::default(),
            lot: "tct_1",
            count_tokens: false,
            tight_pools: &[],
            budget_low: false,
            at: "2026-11-20T12:00:00Z".parse().unwrap(),
        };
        let mut tiers = self.config.tiers.clone();
        tiers.haiku = target.to_owned();
        let easy =
            Complexity { sufficiency: [990; 3], beside_sonnet: 990, score_permille: 10, reasons: Vec::new() };
        let (asked, routing) = (Asked::parse(request.asked), &self.config.routing);
        let decided = decide(&asked, &envelope, &easy, &self.catalog, &tiers, routing, &facts).unwrap();
        let fits = |one: &&Candidate| {
            one.model == target
                && one.tier == Tier::Haiku
                && one.blockers.iter().all(|code| PREFERENCES.contains(code))
        };
        let found = decided.candidates.iter().find(fits)?;
        let insert = (!found.adaptations.is_empty()).then(|| r#","thinking":{"type":"disabled"}"#.to_owned());
        let splice = Splice { model_span: envelope.model_span.clone(), model: target.to_owned(), insert };
        let pieces: Vec<Bytes> = splice.apply(&request.body).into_iter().collect();
        Some(pieces.concat().into())
    }

    /// Asks for a model, and for every feasible target; returns how many targets answered alike.
    async fn walk(&self, name: &str, request: &Request) -> usize {
        let answer = self.send(request, request.body.clone()).await;
        let mut alike = 0;
        for target in MODELS.into_iter().filter(|target| *target != request.asked) {
            let Some(body) = self.judge(request, target) else { continue };
            let routed = self.send(request, body).await;
            let case = format!("{name}, {}: {} to {target}", request.version, request.asked);
            // What the asked model refuses, the client is to see refused.
            assert_eq!(routed.status, answer.status, "{case}: {}", String::from_utf8_lossy(&routed.body));
            if routed.status != 200 {
                continue;
            }
            let (asked, got) = (seen(request, &answer), seen(request, &routed));
            assert!(got == asked || less_cut(&got, &asked), "{case}: {asked:.400} and {got:.400}");
            let id = routed.header("request-id");
            let dropped = self.upstream.dropped_thinking().into_iter().find(|one| one.request_id == id);
            assert_eq!(dropped, None, "{case}");
            alike += 1;
        }
        alike
    }
}

/// What a client could tell apart: contents without what is different each time, and how the answer ended.
///
/// On which tier of service it ran counts where the request names one; most leave it to what the account bought.
fn seen(request: &Request, answer: &Answer) -> Value {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    if answer.header("content-type").starts_with("text/event-stream") {
        let events: Vec<&str> = text.lines().filter(|line| line.starts_with("event: ")).collect();
        return json!(events);
    }
    let mut message = answer.json();
    for block in message["content"].as_array_mut().unwrap() {
        for field in ["id", "signature", "tool_use_id"] {
            block.as_object_mut().unwrap().remove(field);
        }
    }
    let usage = &message["usage"];
    let tier = if request.names_tier() { &usage["service_tier"] } else { &Value::Null };
    json!([message["content"], message["stop_reason"], tier, usage["speed"], usage["inference_geo"]])
}

/// Tells whether an answer that the asked model broke off for its length goes on at the target: a tokenizer that
/// counts less leaves more room.
fn less_cut(got: &Value, asked: &Value) -> bool {
    let text = |seen: &Value| seen[0][0]["text"].as_str().map(str::to_owned);
    let (Some(got), Some(short)) = (text(got), text(asked)) else { return false };
    asked[1] == "max_tokens" && got.len() > short.len() && got.starts_with(&short)
}

fn request(asked: &'static str, body: &Value) -> Request {
    Request { asked, version: VERSIONS[0], betas: "", body: body.to_string().into() }
}

/// Continues a conversation that the asked model answered: at a user turn, in a tool loop, after an edit.
async fn continued(world: &World, asked: &'static str) -> Vec<(&'static str, Request)> {
    let mut found = Vec::new();
    for thinking in ["default", "adaptive", "enabled", "disabled"] {
        let mut body = first_turn(asked);
        body["system"] = json!("You keep records.");
        body["tools"] = json!([{ "name": "record", "input_schema": { "type": "object", "properties": {} } }]);
        body["messages"][0]["content"] = json!("use tool record");
        match thinking {
            "default" => {}
            "enabled" => body["thinking"] = json!({ "type": "enabled", "budget_tokens": 1_024 }),
            kind => body["thinking"] = json!({ "type": kind }),
        }
        let first = world.send(&request(asked, &body), body.to_string().into()).await;
        if first.status != 200 {
            continue;
        }
        let content = first.json()["content"].clone();
        let call = content.as_array().unwrap().iter().find(|block| block["type"] == "tool_use").unwrap();
        let result = json!([{ "type": "tool_result", "tool_use_id": call["id"], "content": "kept" }]);
        let messages = body["messages"].as_array_mut().unwrap();
        messages.push(json!({ "role": "assistant", "content": content }));
        messages.push(json!({ "role": "user", "content": result }));
        found.push(("tool loop", request(asked, &body)));
        let messages = body["messages"].as_array_mut().unwrap();
        messages.push(json!({ "role": "assistant", "content": "Kept." }));
        messages.push(json!({ "role": "user", "content": "say thanks" }));
        found.push(("user turn", request(asked, &body)));
        body["system"] = json!("You keep other records.");
        found.push(("changed history", request(asked, &body)));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_feasible_is_answered_alike() {
    let world = World::start().await;
    let walks = MODELS.map(|asked| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let mut alike = BTreeMap::<&str, usize>::new();
            for version in VERSIONS {
                for dimension in &DIMENSIONS {
                    let mut body = first_turn(asked);
                    (dimension.change)(&mut body);
                    let body = body.to_string().into();
                    let request = Request { asked, version, betas: dimension.betas, body };
                    *alike.entry(dimension.name).or_default() += world.walk(dimension.name, &request).await;
                }
            }
            let mut others = continued(&world, asked).await;
            if LONG.contains(&asked) {
                let mut body = first_turn(asked);
                body["system"] = json!("A line of many. ".repeat(49_000));
                others.push(("long prompt", request(asked, &body)));
            }
            for (name, request) in others {
                *alike.entry(name).or_default() += world.walk(name, &request).await;
            }
            alike
        })
    });
    let mut alike = BTreeMap::<&str, usize>::new();
    for walk in walks {
        for (name, count) in walk.await.unwrap() {
            *alike.entry(name).or_default() += count;
        }
    }
    // What binds a request to its model moves nowhere; what every model takes moves between many.
    for name in ["pre-warming", "thread", "container", "falls back to opus 4.8", "code execution"] {
        assert_eq!(alike[name], 0, "{name}");
    }
    for name in ["nothing", "stream", "system", "disabled", "effort low", "bash", "image", "standard only"] {
        assert!(alike[name] > 50, "{name}: {alike:?}");
    }
    assert!(alike.values().sum::<usize>() > 2_000, "{alike:?}");
}
