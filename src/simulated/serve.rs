//! One request from the wire to an answer: reads it, notes it, applies the script, finds the endpoint.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response};
use serde_json::{Value, json};

use super::behaviour::Behaviour;
use super::call::{self, Call};
use super::fault::Fault;
use super::outgoing::Outgoing;
use super::plan::{self, Step};
use super::reply::Event;
use super::shape::Endpoint;
use super::state::{Seen, Settlement, State};
use super::wire::Faults;
use super::{batches, control, files, listing, messages, reports};

/// What an endpoint gives back.
#[derive(Debug)]
pub(super) enum Payload {
    Json(Value),
    Bytes(Bytes, String),
    Stream(Vec<Event>, Settlement),
}

/// Answers one request; an error closes the connection without an answer.
pub(super) async fn handle(
    request: Request<Incoming>,
    state: Arc<State>,
    faults: Arc<Faults>,
) -> Result<Response<Outgoing>, io::Error> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let most = if path.starts_with("/v1/messages/batches") || path.starts_with("/v1/files") {
        MOST_STORED_BYTES
    } else {
        MOST_MESSAGE_BYTES
    };
    let body = Limited::new(body, most).collect().await.map(http_body_util::Collected::to_bytes);
    if path.starts_with("/_simulated/") {
        let answer = control::route(parts.method.as_str(), &path, &body.unwrap_or_default(), &state);
        return Ok(control_response(answer, faults));
    }
    let raw = body.as_ref().map(|bytes| bytes.to_vec()).unwrap_or_default();
    state.see(seen(&parts, raw));
    let request_id = state.id("req");
    let script = state.scripted(&path);
    if script.contains(&Behaviour::CloseBeforeAnswer) {
        return Err(io::Error::other("closed by script"));
    }
    first_byte(&script, state.options.first_byte).await;
    let call = identify(&parts, body, &path, &request_id, &state);
    let account = call.as_ref().map_or("", |call| call.account()).to_owned();
    let outcome = call.and_then(|call| route(&call, &script, &state));
    let head = Head { request_id, account, gzip: gzip(&parts.headers, &script) };
    Ok(respond(outcome, &head, &script, &state, &faults))
}

struct Head {
    request_id: String,
    account: String,
    gzip: bool,
}

fn identify(
    parts: &http::request::Parts,
    body: Result<Bytes, Box<dyn std::error::Error + Send + Sync>>,
    path: &str,
    request_id: &str,
    state: &State,
) -> Result<Call, Fault> {
    let too_large = |_| Fault::new(413, "request_too_large", "Request exceeds the maximum size");
    let body = body.map_err(too_large)?;
    let key = if path == "/" {
        String::new()
    } else {
        // Keys of administration are keys of their own.
        let accepted = state.options.accepted_keys.as_deref().filter(|_| reports::named(path).is_none());
        call::key(&parts.headers, accepted)?
    };
    let version = if path == "/" { call::Version::October2026 } else { call::version(&parts.headers)? };
    Ok(Call {
        method: parts.method.clone(),
        path: path.to_owned(),
        query: call::query(parts.uri.query()),
        betas: call::betas(&parts.headers)?,
        body: decoded(&parts.headers, body)?,
        headers: parts.headers.clone(),
        key,
        version,
        request_id: request_id.to_owned(),
    })
}

fn route(call: &Call, script: &[Behaviour], state: &State) -> Result<Payload, Fault> {
    for behaviour in script {
        match behaviour {
            Behaviour::Status { status, error_type, message, code, headers } => {
                let mut fault = Fault::new(*status, error_type, message.clone());
                fault.details = code.as_ref().map(|code| json!({ "error_code": code }));
                fault.headers = headers.clone().into_iter().collect();
                return Err(fault);
            }
            Behaviour::Redirect { location } => {
                let mut fault = Fault::new(307, "redirect", "Temporary Redirect");
                fault.headers = vec![("location".to_owned(), location.clone())];
                return Err(fault);
            }
            Behaviour::EchoKey => return Err(Fault::invalid(format!("bad request by key {}", call.key))),
            _ => {}
        }
    }
    let path = call.path.as_str();
    let below = |prefix: &str| {
        path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/')).map(str::to_owned)
    };
    if path == "/" {
        return Ok(Payload::Bytes(Bytes::new(), "text/plain".to_owned()));
    }
    if path == "/v1/messages" && call.method == "POST" {
        let answer = messages::answer(&call.body, call, Endpoint::Messages, script, state)?;
        return Ok(match answer.events {
            Some(events) => Payload::Stream(events, answer.settlement),
            None => {
                state.settle(answer.settlement, 1, 1);
                Payload::Json(plan::altered_message(answer.message, script))
            }
        });
    }
    if path == "/v1/messages/count_tokens" && call.method == "POST" {
        return messages::count_tokens(&call.body, call, state).map(Payload::Json);
    }
    if path == "/v1/messages" || path == "/v1/messages/count_tokens" {
        return Err(Fault::new(405, "invalid_request_error", "Method Not Allowed"));
    }
    if let Some(rest) = below("/v1/messages/batches") {
        return Ok(match batches::route(&rest, call, script, state)? {
            batches::Reply::Json(value) => Payload::Json(value),
            batches::Reply::Lines(lines) => {
                Payload::Bytes(Bytes::from(lines), "application/x-jsonl".to_owned())
            }
        });
    }
    if let Some(report) = reports::named(path) {
        return reports::route(report, call, state).map(Payload::Json);
    }
    if let Some(rest) = below("/v1/models") {
        return listing::route(&rest, call, state).map(Payload::Json);
    }
    if let Some(rest) = below("/v1/files") {
        return Ok(match files::route(&rest, call, state)? {
            files::Reply::Json(value) => Payload::Json(value),
            files::Reply::Content(bytes, mime) => Payload::Bytes(bytes, mime),
        });
    }
    control::echo(call)
}

fn respond(
    outcome: Result<Payload, Fault>,
    head: &Head,
    script: &[Behaviour],
    state: &Arc<State>,
    faults: &Arc<Faults>,
) -> Response<Outgoing> {
    let mut headers = common_headers(head, state);
    for behaviour in script {
        if let Behaviour::ExtraHeaders { headers: extra } = behaviour {
            headers.extend(extra.clone());
        }
    }
    let mut header = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
    let gzip = head.gzip;
    let (status, body) = match outcome {
        Err(fault) => {
            header("content-type", "application/json");
            headers.extend(fault.headers.clone());
            let text = fault.envelope(&head.request_id).to_string();
            (fault.status, Outgoing::new(plan::whole(Bytes::from(text), script, gzip), faults.clone()))
        }
        Ok(Payload::Json(value)) => {
            header("content-type", "application/json");
            let text = Bytes::from(value.to_string());
            (200, Outgoing::new(plan::whole(text, script, gzip), faults.clone()))
        }
        Ok(Payload::Bytes(bytes, mime)) => {
            header("content-type", &mime);
            (200, Outgoing::new(plan::whole(bytes, script, gzip), faults.clone()))
        }
        Ok(Payload::Stream(events, settlement)) => {
            header("content-type", "text/event-stream; charset=utf-8");
            header("cache-control", "no-cache");
            let total = events.len() as u64;
            let steps = plan::stream(events, script, state.options.pace, gzip);
            (200, Outgoing::new(steps, faults.clone()).settling(settlement, state.clone(), total))
        }
    };
    if gzip {
        headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
    }
    if script.contains(&Behaviour::DuplicateContentLength) {
        faults.replace(doubled(status, &headers));
        headers.push(("connection".to_owned(), "close".to_owned()));
    }
    build(status, &headers, body)
}

fn build(status: u16, headers: &[(String, String)], body: Outgoing) -> Response<Outgoing> {
    let mut response = Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        let name = http::HeaderName::try_from(name.as_str());
        if let (Ok(name), Ok(value)) = (name, http::HeaderValue::try_from(value.as_str())) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn control_response(answer: Result<Value, Fault>, faults: Arc<Faults>) -> Response<Outgoing> {
    let (status, value) = match answer {
        Ok(value) => (200, value),
        Err(fault) => (fault.status, fault.envelope("")),
    };
    let body = Outgoing::new([Step::Send(Bytes::from(value.to_string()))].into(), faults);
    build(status, &[("content-type".to_owned(), "application/json".to_owned())], body)
}

fn common_headers(head: &Head, state: &State) -> Vec<(String, String)> {
    let organization = blake3::hash(head.account.as_bytes()).to_hex();
    let reset = super::state::rfc3339((state.now_ms() / 60_000 + 1) * 60_000);
    let mut headers = vec![
        ("request-id".to_owned(), head.request_id.clone()),
        ("anthropic-organization-id".to_owned(), format!("org-{}", &organization.as_str()[..24])),
    ];
    for (kind, most) in
        [("requests", 4_000), ("tokens", 2_400_000), ("input-tokens", 2_000_000), ("output-tokens", 400_000)]
    {
        headers.push((format!("anthropic-ratelimit-{kind}-limit"), most.to_string()));
        headers.push((format!("anthropic-ratelimit-{kind}-remaining"), (most - 1).to_string()));
        headers.push((format!("anthropic-ratelimit-{kind}-reset"), reset.clone()));
    }
    headers
}

/// An answer with two content lengths that contradict each other.
fn doubled(status: u16, headers: &[(String, String)]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} OK\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("content-length: 2\r\ncontent-length: 30\r\n\r\n{}");
    text.into_bytes()
}

fn seen(parts: &http::request::Parts, body: Vec<u8>) -> Seen {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Seen {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        http: format!("{:?}", parts.version),
        headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body,
    }
}

async fn first_byte(script: &[Behaviour], usual: Duration) {
    let scripted = script.iter().find_map(|behaviour| match behaviour {
        Behaviour::SlowFirstByte { ms } => Some(Duration::from_millis(*ms)),
        _ => None,
    });
    let wait = scripted.unwrap_or(usual);
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

fn gzip(headers: &HeaderMap, script: &[Behaviour]) -> bool {
    let accepted = headers.get_all("accept-encoding").iter().filter_map(|value| value.to_str().ok());
    let mut accepted = accepted.flat_map(|value| value.split(','));
    let accepts = accepted.any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        matches!(name.trim(), "gzip" | "*") && weight.trim() != "q=0"
    });
    accepts || script.contains(&Behaviour::Gzip)
}

fn decoded(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Fault> {
    match headers.get("content-encoding").map(http::HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(body),
        Some(b"gzip") => {
            let mut plain = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(body.as_ref()).take(MOST_MESSAGE_BYTES as u64 + 1);
            decoder.read_to_end(&mut plain).map_err(|_| {
                Fault::invalid("The request body is not valid gzip").code("request_body_encoding_invalid")
            })?;
            if plain.len() > MOST_MESSAGE_BYTES {
                return Err(Fault::new(413, "request_too_large", "Request exceeds the maximum size")
                    .code("request_body_too_large_after_decoding"));
            }
            Ok(Bytes::from(plain))
        }
        Some(_) => Err(Fault::new(415, "invalid_request_error", "Unsupported content-encoding")
            .code("request_body_encoding_unsupported")),
    }
}

const MOST_MESSAGE_BYTES: usize = 32 * 1024 * 1024;
const MOST_STORED_BYTES: usize = 500 * 1024 * 1024;
