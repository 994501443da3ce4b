//! Clients of a simulated world: they ask, repeat themselves, read slowly and leave.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::task::JoinHandle;

use super::dice::Dice;
use super::wire::{Reset, Way, wires};
use super::world::{Asked, End, World};

/// Somebody with a key.
pub(super) struct Client {
    pub(super) world: World,
    pub(super) number: usize,
    pub(super) tenant: usize,
    pub(super) dice: Dice,
    pub(super) way: Way,
    pub(super) requests: usize,
    pub(super) is_ending: tokio::sync::watch::Receiver<bool>,
}

/// A connection to the gateway.
struct Line {
    sender: SendRequest<Full<Bytes>>,
    driving: JoinHandle<()>,
    reset: Reset,
}

/// Keys of the tenants.
pub(super) const KEYS: [&str; 3] = ["tct-a", "tct-b", "tct-c"];

impl Client {
    /// Asks one thing after the other.
    pub(super) async fn live(mut self) {
        let mut line = None;
        let mut before: Option<(String, bool)> = None;
        for request in 0..self.requests {
            let rest = self.dice.pick(&[5, 500, 4_000]);
            tokio::time::sleep(self.dice.pause(rest)).await;
            let again = before.clone().filter(|_| self.dice.one_in(3));
            let is_again = again.is_some();
            let (body, stream) = again.unwrap_or_else(|| self.body());
            let index = self.begin(request, &body, stream);
            if line.is_none() {
                line = self.connect().await;
            }
            let leaves = self.dice.one_in(5).then(|| self.dice.pick(&[5, 600, 6_000]));
            let patience = leaves.map_or(LONGEST, |below| self.dice.millis(below));
            before = Some((body.clone(), stream));
            let asking = self.ask(&mut line, index, body, is_again);
            match tokio::time::timeout(patience, asking).await {
                Ok((end, may_stay)) => {
                    self.end(index, end);
                    line = line.filter(|_| may_stay);
                }
                Err(_) => {
                    if patience == LONGEST {
                        self.world
                            .seen()
                            .broken
                            .push("a client has waited for longer than all waits".to_owned());
                    }
                    if let Some(left) = line.take() {
                        if self.dice.one_in(2) {
                            left.reset.set();
                        }
                        left.driving.abort();
                    }
                    self.end(index, End::Left);
                }
            }
        }
    }

    fn name(&self) -> String {
        format!("client {}", self.number)
    }

    /// Draws a request; of few, so that many are the same.
    fn body(&mut self) -> (String, bool) {
        let stream = self.dice.one_in(2);
        let prompt = format!("prompt {} {}", self.dice.below(4), "x".repeat(self.dice.index(2) * 300));
        let body = json!({
            "model": self.dice.pick(&MODELS), "max_tokens": self.dice.pick(&[50_u64, 50, 400]),
            "stream": stream, "messages": [{ "role": "user", "content": prompt }],
        });
        (body.to_string(), stream)
    }

    fn begin(&mut self, request: usize, body: &str, stream: bool) -> usize {
        let late = *self.is_ending.borrow();
        let prompt = serde_json::from_str::<serde_json::Value>(body).unwrap()["messages"][0]["content"]
            .as_str()
            .unwrap()
            .to_owned();
        let shown = prompt.trim_end_matches('x');
        self.world.note(&self.name(), format_args!("asks {request}: {shown}, {} bytes", body.len()));
        let mut seen = self.world.seen();
        let (life, at) = (seen.life, seen.now());
        let tag = format!("sim/{life}-{}-{request}", self.number);
        let asked = Asked {
            life,
            tag,
            tenant: self.tenant,
            prompt,
            stream,
            at,
            late,
            status: None,
            id: None,
            cache: None,
            body: Vec::new(),
            first: None,
            end: End::Open,
            ended_at: at,
        };
        seen.asked.push(asked);
        seen.asked.len() - 1
    }

    async fn connect(&mut self) -> Option<Line> {
        let (ours, theirs) = wires(self.dice.pick(&[300, 8_000, 64_000]), &self.world.disk());
        let reset = ours.resetting();
        self.way.send(theirs).await.ok()?;
        let (sender, connection) = http1::handshake(TokioIo::new(ours)).await.ok()?;
        let driving = tokio::spawn(async move { drop(connection.await) });
        Some(Line { sender, driving, reset })
    }

    /// Sends a request and reads its answer; says how it ended, and whether the connection may be used again.
    async fn ask(&mut self, line: &mut Option<Line>, index: usize, body: String, again: bool) -> (End, bool) {
        let Some(line) = line else { return (End::Unanswered, false) };
        if line.sender.ready().await.is_err() {
            return (End::Unanswered, false);
        }
        let tag = self.world.seen().asked[index].tag.clone();
        let mut request = Request::post("/v1/messages")
            .header(header::HOST, "tercet.test")
            .header(header::USER_AGENT, &tag)
            .header("x-api-key", KEYS[self.tenant])
            .header("anthropic-version", "2023-06-01")
            .header(header::CONTENT_TYPE, "application/json");
        if again || self.dice.one_in(3) {
            request = request.header("x-stainless-retry-count", u32::from(again));
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let Ok(answer) = line.sender.send_request(request).await else { return (End::Unanswered, false) };
        let text = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (status, id, cache) =
            (answer.status().as_u16(), text("x-tercet-request-id"), text("x-tercet-cache"));
        self.world.note(&self.name(), format_args!("gets {status}, {cache:?}"));
        {
            let asked = &mut self.world.seen().asked[index];
            (asked.status, asked.id, asked.cache) = (Some(status), id, cache);
        }
        let slowness = self.dice.pick(&[0, 0, 0, 50, 800]);
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return (End::Cut, false) };
            let Ok(data) = frame.into_data() else { continue };
            self.hear(index, &data);
            if slowness > 0 {
                tokio::time::sleep(self.dice.pause(slowness)).await;
            }
        }
        (End::Whole, true)
    }

    fn hear(&self, index: usize, data: &[u8]) {
        let is_first = self.world.seen().asked[index].first.is_none();
        let order = is_first.then(|| self.world.note(&self.name(), "reads the first of it"));
        let asked = &mut self.world.seen().asked[index];
        asked.first = asked.first.or(order);
        asked.body.extend(data);
    }

    fn end(&self, index: usize, end: End) {
        let bytes = self.world.seen().asked[index].body.len();
        self.world.note(&self.name(), format_args!("ends with {end:?} after {bytes} bytes"));
        let mut seen = self.world.seen();
        let now = seen.now();
        let asked = &mut seen.asked[index];
        (asked.end, asked.ended_at) = (end, now);
    }
}

/// Longer than any wait of the gateway's may last.
const LONGEST: Duration = Duration::from_secs(900);
/// Models, each with what a token costs in nano-dollars, of the prompt and of the answer.
pub(super) const PRICES: [(&str, [u64; 2]); 3] = [
    ("claude-opus-5-5", [4_000, 20_000]),
    ("claude-sonnet-5-5", [2_000, 10_000]),
    ("claude-haiku-5-5", [100, 500]),
];
const MODELS: [&str; 3] = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"];
