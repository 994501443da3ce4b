//! From an answer and its scripted faults to the steps in which its bytes leave: pieces, waits, cuts and resets.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::behaviour::Behaviour;
use super::reply::Event;

/// One step of sending a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Send(Bytes),
    Wait(Duration),
    /// Lets the connection flush before what follows.
    Flush,
    /// Ends the body visibly short.
    Cut,
    /// Ends the connection with a TCP reset.
    Reset,
}

/// Returns the steps of a stream.
pub(super) fn stream(events: Vec<Event>, script: &[Behaviour], pace: Duration, gzip: bool) -> VecDeque<Step> {
    let events = altered(events, script);
    let end = if script.contains(&Behaviour::CrLf) { "\r\n" } else { "\n" };
    let mut steps = VecDeque::new();
    for (index, event) in events.iter().enumerate() {
        for behaviour in script {
            match behaviour {
                Behaviour::Pause { after_events, ms } if *after_events == index => {
                    steps.push_back(Step::Wait(Duration::from_millis(*ms)));
                }
                Behaviour::CutAfter { events: Some(events), .. } if *events == index => {
                    steps.push_back(Step::Cut);
                }
                Behaviour::Comments => {
                    steps.push_back(Step::Send(Bytes::from(format!(": keep-alive {index}{end}{end}"))));
                }
                _ => {}
            }
        }
        let text = format!("event: {}{end}data: {}{end}{end}", event.name, event.data);
        steps.push_back(Step::Send(Bytes::from(text)));
        steps.push_back(if pace.is_zero() { Step::Flush } else { Step::Wait(pace) });
    }
    if gzip {
        steps = compressed(steps);
    }
    by_bytes(steps, script)
}

/// Returns the steps of a body that is not a stream.
pub(super) fn whole(body: Bytes, script: &[Behaviour], gzip: bool) -> VecDeque<Step> {
    let half = body.len() / 2;
    let mut steps = VecDeque::from([Step::Send(body)]);
    if gzip {
        steps = compressed(steps);
    }
    let cut = script.iter().any(|behaviour| matches!(behaviour, Behaviour::CutAfter { events: Some(_), .. }));
    if cut {
        let behaviour = Behaviour::CutAfter { events: None, bytes: Some(half) };
        return by_bytes(steps, &[behaviour]);
    }
    by_bytes(steps, script)
}

/// Applies the behaviours that change an answer's JSON.
pub(super) fn altered_message(mut message: Value, script: &[Behaviour]) -> Value {
    for behaviour in script {
        match behaviour {
            Behaviour::NoUsage => {
                if let Some(object) = message.as_object_mut() {
                    object.remove("usage");
                }
            }
            Behaviour::WrongUsage { usage } => message["usage"] = usage.clone(),
            Behaviour::UnknownEvents => message["field_from_the_future"] = json!({ "kept": true }),
            _ => {}
        }
    }
    message
}

fn altered(mut events: Vec<Event>, script: &[Behaviour]) -> Vec<Event> {
    for behaviour in script {
        match behaviour {
            Behaviour::NoUsage | Behaviour::WrongUsage { .. } => {
                for event in &mut events {
                    let holder = match event.name.as_str() {
                        "message_start" => event.data.get_mut("message"),
                        "message_delta" => Some(&mut event.data),
                        _ => None,
                    };
                    if let Some(holder) = holder {
                        *holder = altered_message(holder.take(), std::slice::from_ref(behaviour));
                    }
                }
            }
            Behaviour::UnknownEvents => {
                let data = json!({ "type": "event_from_the_future", "kept": true });
                events.insert(events.len().min(2), Event::new("event_from_the_future", data));
                if let Some(first) = events.first_mut() {
                    first.data["field_from_the_future"] = json!(1);
                }
            }
            Behaviour::HugeLine { bytes } => {
                let data = json!({ "type": "ping", "padding": "x".repeat(*bytes) });
                events.insert(events.len().min(2), Event::new("ping", data));
            }
            Behaviour::ErrorEvent { after_events, error_type, message } => {
                events.truncate(*after_events);
                let error = json!({ "type": error_type, "message": message });
                events.push(Event::new("error", json!({ "type": "error", "error": error })));
            }
            _ => {}
        }
    }
    events
}

fn compressed(steps: VecDeque<Step>) -> VecDeque<Step> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut compressed = VecDeque::new();
    for step in steps {
        match step {
            // Writing into a vector cannot fail.
            Step::Send(bytes) if encoder.write_all(&bytes).and_then(|()| encoder.flush()).is_ok() => {
                compressed.push_back(Step::Send(Bytes::from(std::mem::take(encoder.get_mut()))));
            }
            other => compressed.push_back(other),
        }
    }
    if let Ok(tail) = encoder.finish() {
        compressed.push_back(Step::Send(Bytes::from(tail)));
    }
    compressed
}

/// Applies the behaviours that count bytes.
fn by_bytes(steps: VecDeque<Step>, script: &[Behaviour]) -> VecDeque<Step> {
    let mut steps = steps;
    for behaviour in script {
        steps = match behaviour {
            Behaviour::OddChunks { sizes } => split(steps, sizes),
            Behaviour::CutAfter { bytes: Some(bytes), .. } => ended(steps, *bytes, Step::Cut),
            Behaviour::Reset { after_bytes } => ended(steps, *after_bytes, Step::Reset),
            _ => steps,
        };
    }
    steps
}

fn split(steps: VecDeque<Step>, sizes: &[usize]) -> VecDeque<Step> {
    let mut pieces = VecDeque::new();
    let mut next = sizes.iter().copied().cycle();
    let mut room = next.next().unwrap_or(1).max(1);
    for step in steps {
        match step {
            Step::Send(mut bytes) => {
                while !bytes.is_empty() {
                    let piece = bytes.split_to(room.min(bytes.len()));
                    room -= piece.len();
                    pieces.push_back(Step::Send(piece));
                    if room == 0 {
                        pieces.push_back(Step::Flush);
                        room = next.next().unwrap_or(1).max(1);
                    }
                }
            }
            other => pieces.push_back(other),
        }
    }
    pieces
}

fn ended(steps: VecDeque<Step>, at_bytes: usize, end: Step) -> VecDeque<Step> {
    let mut kept = VecDeque::new();
    let mut room = at_bytes;
    for step in steps {
        match step {
            Step::Send(bytes) if bytes.len() >= room => {
                if room > 0 {
                    kept.push_back(Step::Send(bytes.slice(..room)));
                }
                kept.push_back(end);
                return kept;
            }
            Step::Send(bytes) => {
                room -= bytes.len();
                kept.push_back(Step::Send(bytes));
            }
            other => kept.push_back(other),
        }
    }
    kept
}
