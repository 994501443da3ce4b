//! The upstreams of a simulated world: they answer, refuse, fall silent and break off, and count what they did.

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::answer::{self, Answer, Question};
use super::dice::Dice;
use super::wire::{Wire, wires};
use super::world::{Call, Weather, World};
use crate::upstream::played::Connecting;

/// What becomes of an answer once it is drawn.
enum Fate {
    /// It is written, with such pauses, up to a byte; then the connection ends so.
    Written { pace_ms: u64, up_to: Option<(usize, Break)> },
    /// Nothing is written.
    Nothing(Break),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    Closed,
    Reset,
    Silent,
}

/// Hosts of the upstreams; each expects the credential of its place.
pub(super) const HOSTS: [&str; 2] = ["one.test", "two.test"];
pub(super) const CREDENTIALS: [&str; 2] = ["sk-ant-one", "sk-ant-two"];

/// Connects to an upstream.
pub(super) fn connect(world: &World, host: &str) -> Connecting {
    let (world, mut dice) = (world.clone(), world.fork());
    let upstream = HOSTS.iter().position(|known| *known == host).unwrap();
    Box::pin(async move {
        tokio::time::sleep(dice.pause(20)).await;
        match world.weather(upstream) {
            Some(Weather::Refusing) => return Err(io::ErrorKind::ConnectionRefused.into()),
            Some(Weather::Hanging) => std::future::pending().await,
            _ if dice.one_in(40) => return Err(io::ErrorKind::ConnectionRefused.into()),
            _ => {}
        }
        let (theirs, ours) = wires(dice.pick(&[100, 2_000, 64_000]), &world.disk());
        tokio::spawn(async move { serve(&world, upstream, ours, dice).await });
        Ok(Box::new(theirs) as _)
    })
}

/// Answers one request after the other.
async fn serve(world: &World, upstream: usize, mut wire: Wire, mut dice: Dice) -> Option<()> {
    let mut unread = Vec::new();
    for place in 0.. {
        if place > 0 && dice.one_in(4) {
            // Tired of waiting, perhaps just when the next request comes.
            let patience = dice.millis(3_000);
            match tokio::time::timeout(patience, wire.read_buf(&mut unread)).await {
                Ok(read) => read.ok().filter(|read| *read > 0)?,
                Err(_) => return None,
            };
        }
        let stops_reading = dice.one_in(40).then(|| dice.index(400));
        let (head, body) = request(&mut wire, &mut unread, stops_reading).await?;
        let (number, stream) = begin(world, upstream, &head, &body, place > 0);
        let call = |change: &dyn Fn(&mut Call)| change(&mut world.seen().calls[number]);
        let (answer, fate) = draw(world, number, stream, &body, &mut dice);
        call(&|call| {
            (call.failed, call.status, call.body) = (answer.failed, answer.status, answer.body.clone());
            call.input_tokens = answer.input_tokens;
        });
        tokio::time::sleep(dice.pause(1_500)).await;
        let ends = match fate {
            Fate::Nothing(ends) => Some(ends),
            Fate::Written { pace_ms, up_to } => {
                let end = up_to.map_or(answer.bytes.len(), |(bytes, _)| bytes);
                write(world, number, &mut wire, &answer, end, pace_ms, &mut dice).await?;
                up_to.map(|(_, ends)| ends)
            }
        };
        let tag = world.seen().calls[number].tag.clone();
        match ends {
            Some(Break::Silent) => {
                world.note(&tag, format_args!("upstream {upstream} falls silent"));
                let _ = wire.read_buf(&mut unread).await;
                return None;
            }
            Some(ends) => {
                world.note(&tag, format_args!("upstream {upstream} breaks off: {ends:?}"));
                if ends == Break::Reset {
                    wire.resetting().set();
                }
                return None;
            }
            None if !answer.lasts => return None,
            None => {}
        }
    }
    None
}

/// Reads a request; nothing where the connection ends, or after so many bytes of it.
async fn request(wire: &mut Wire, unread: &mut Vec<u8>, most: Option<usize>) -> Option<(String, Value)> {
    loop {
        if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(unread[..end].to_vec()).unwrap();
            let length: usize = header(&head, "content-length").unwrap().parse().unwrap();
            if unread.len() >= end + 4 + length {
                let body: Vec<u8> = unread.drain(..end + 4 + length).skip(end + 4).collect();
                return Some((head, serde_json::from_slice(&body).unwrap()));
            }
        }
        if most.is_some_and(|most| unread.len() > most) {
            wire.resetting().set();
            return None;
        }
        wire.read_buf(unread).await.ok().filter(|read| *read > 0)?;
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let field = |line: &'a str| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name));
    head.lines().find_map(field).map(|(_, value)| value)
}

/// Notes a request that was read.
fn begin(world: &World, upstream: usize, head: &str, body: &Value, reused: bool) -> (usize, bool) {
    let tag = header(head, "user-agent").unwrap_or_default().to_owned();
    let key = header(head, "x-api-key").unwrap_or_default();
    if key != CREDENTIALS[upstream] || head.contains("tct-") {
        world.seen().broken.push(format!("{} is sent the credential {key}", HOSTS[upstream]));
    }
    let stream = body["stream"].as_bool().unwrap_or(false);
    let model = body["model"].as_str().unwrap().to_owned();
    let prompt = body["messages"][0]["content"].as_str().unwrap().to_owned();
    let order = world.note(&tag, format_args!("upstream {upstream} reads it for {model}, again {reused}"));
    let mut seen = world.seen();
    let (at, life) = (seen.now(), seen.life);
    let call =
        Call { life, upstream, tag, prompt, model, stream, at, until: at, order, reused, ..Call::default() };
    seen.calls.push(call);
    (seen.calls.len() - 1, stream)
}

fn draw(world: &World, number: usize, stream: bool, body: &Value, dice: &mut Dice) -> (Answer, Fate) {
    let (upstream, model) = {
        let seen = world.seen();
        (seen.calls[number].upstream, seen.calls[number].model.clone())
    };
    let max_tokens = body["max_tokens"].as_u64().unwrap();
    let input_tokens = 1 + body.to_string().len() as u64 / 8;
    let question = Question { number, model: &model, max_tokens, input_tokens };
    let whole = |pace_ms| Fate::Written { pace_ms, up_to: None };
    if world.weather(upstream) == Some(Weather::Overloaded) {
        return (answer::refusal(number, 529, "overloaded_error", None), whole(0));
    }
    let refused = |status, kind: &str, retry: Option<u64>| answer::refusal(number, status, kind, retry);
    let pace_ms = dice.pick(&[0, 0, 20, 300, 3_000]);
    let good = |dice: &mut Dice| match stream {
        true => answer::stream(&question, None, dice),
        false => answer::message(&question, dice),
    };
    let broken = dice.pick(&[Break::Closed, Break::Reset, Break::Silent]);
    match dice.below(100) {
        0..5 => (refused(429, "rate_limit_error", Some(1 + dice.below(3))), whole(0)),
        5..9 => (refused(529, "overloaded_error", None), whole(0)),
        9..12 => (refused(500, "api_error", None), whole(0)),
        12..14 => (refused(503, "api_error", None), whole(0)),
        14..16 => (refused(400, "invalid_request_error", None), whole(0)),
        16..21 => (Answer::default(), Fate::Nothing(broken)),
        21..33 => {
            let answer = good(dice);
            let up_to = 1 + dice.index(answer.bytes.len() - 1);
            (answer, Fate::Written { pace_ms, up_to: Some((up_to, broken)) })
        }
        33..40 if stream => (answer::stream(&question, Some(dice.pick(&[0, 0, 1, 3])), dice), whole(pace_ms)),
        _ => (good(dice), whole(pace_ms)),
    }
}

/// Writes an answer up to a byte; nothing where nobody takes it.
async fn write(
    world: &World,
    number: usize,
    wire: &mut Wire,
    answer: &Answer,
    end: usize,
    pace_ms: u64,
    dice: &mut Dice,
) -> Option<()> {
    let mut written = 0;
    while written < end {
        let some = if dice.one_in(2) { 1 + dice.index(end - written) } else { end - written };
        let some = some.min(2_000);
        written += wire.write(&answer.bytes[written..written + some]).await.ok()?;
        {
            let mut seen = world.seen();
            let now = seen.now();
            let call = &mut seen.calls[number];
            if !call.whole {
                // With all that a client needs the exchange is settled and its place free; what comes behind is framing.
                call.until = now;
            }
            call.answered = true;
            call.whole = written >= answer.enough && !answer.failed;
            call.output_tokens = answer.tokens_in(written);
        }
        if written < end && pace_ms > 0 {
            tokio::time::sleep(dice.millis(pace_ms)).await;
        }
    }
    let tag = world.seen().calls[number].tag.clone();
    world.note(&tag, format_args!("call {number} wrote {written} of {}", answer.bytes.len()));
    Some(())
}

/// How long an upstream may be in trouble.
pub(super) fn weather(dice: &mut Dice) -> Vec<(usize, [Duration; 2], Weather)> {
    let count = dice.pick(&[0, 0, 1, 2]);
    let one = |dice: &mut Dice| {
        let from = dice.millis(20_000);
        let kinds = [Weather::Refusing, Weather::Hanging, Weather::Overloaded];
        (dice.index(HOSTS.len()), [from, from + dice.millis(15_000)], dice.pick(&kinds))
    };
    (0..count).map(|_| one(dice)).collect()
}
