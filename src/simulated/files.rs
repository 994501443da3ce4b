//! Files: multipart upload, list by opaque page, retrieve, content, delete; visible to the uploading account only.
//!
//! Uploads are not downloadable, as on the real API, unless their name starts with `output`, which stands for what
//! code execution made.

use hyper::body::Bytes;
use serde_json::{Value, json};

use super::call::Call;
use super::fault::Fault;
use super::paging;
use super::state::{State, rfc3339};

/// A stored file.
#[derive(Debug, Clone)]
pub(super) struct File {
    id: String,
    account: String,
    name: String,
    mime: String,
    content: Bytes,
    created_ms: i64,
    expires_ms: Option<i64>,
}

impl File {
    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "type": "file",
            "filename": self.name,
            "mime_type": self.mime,
            "size_bytes": self.content.len(),
            "created_at": rfc3339(self.created_ms),
            "expires_at": self.expires_ms.map(rfc3339),
            "downloadable": self.downloadable(),
        })
    }

    fn downloadable(&self) -> bool {
        self.name.starts_with("output")
    }
}

/// A JSON object, or the bytes of a file with their type.
#[derive(Debug)]
pub(super) enum Reply {
    Json(Value),
    Content(Bytes, String),
}

/// Answers a request below `/v1/files`; `rest` is the path after it.
pub(super) fn route(rest: &str, call: &Call, state: &State) -> Result<Reply, Fault> {
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    match (call.method.as_str(), parts.as_slice()) {
        ("POST", []) => upload(call, state).map(Reply::Json),
        ("GET", []) => list(call, state).map(Reply::Json),
        ("GET", [id]) => find(id, call, state).map(|file| Reply::Json(file.json())),
        ("GET", [id, "content"]) => {
            let file = find(id, call, state)?;
            if !file.downloadable() {
                let message = format!("File '{id}' is not downloadable.");
                return Err(Fault::invalid(message).code("file_not_downloadable"));
            }
            Ok(Reply::Content(file.content, file.mime))
        }
        ("DELETE", [id]) => {
            let file = find(id, call, state)?;
            state.memory().files.retain(|kept| kept.id != file.id);
            Ok(Reply::Json(json!({ "id": id, "type": "file_deleted" })))
        }
        _ => Err(Fault::not_found("Not Found")),
    }
}

fn find(id: &str, call: &Call, state: &State) -> Result<File, Fault> {
    let now = state.now_ms();
    let memory = state.memory();
    let mut files = memory.files.iter();
    let found = files.find(|file| file.id == id && file.account == call.account());
    let alive = found.filter(|file| file.expires_ms.is_none_or(|until| until > now));
    alive.cloned().ok_or_else(|| Fault::not_found(format!("File not found: {id}")))
}

fn list(call: &Call, state: &State) -> Result<Value, Fault> {
    let memory = state.memory();
    let mine: Vec<&File> = memory.files.iter().rev().filter(|file| file.account == call.account()).collect();
    let ids: Vec<&str> = call
        .query
        .iter()
        .filter(|(name, _)| name == "ids" || name == "ids[]")
        .map(|(_, value)| value.as_str())
        .collect();
    if !ids.is_empty() {
        let data: Vec<Value> =
            mine.iter().filter(|file| ids.contains(&file.id.as_str())).map(|file| file.json()).collect();
        return Ok(json!({ "data": data, "next_page": null }));
    }
    let most = paging::limit(call)?;
    let start = match call.query_value("page") {
        None => 0,
        Some(page) => page
            .strip_prefix("page_")
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| Fault::invalid("page: not a valid cursor"))?,
    };
    let data: Vec<Value> = mine.iter().skip(start).take(most).map(|file| file.json()).collect();
    let next = start.saturating_add(most);
    let next_page = (next < mine.len()).then(|| format!("page_{next}"));
    Ok(json!({ "data": data, "next_page": next_page, "has_more": next < mine.len() }))
}

fn upload(call: &Call, state: &State) -> Result<Value, Fault> {
    let header = call.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("");
    let boundary = header
        .strip_prefix("multipart/form-data")
        .and_then(|rest| rest.split_once("boundary="))
        .map(|(_, boundary)| boundary.trim_matches('"').to_owned())
        .ok_or_else(|| Fault::invalid("content-type: must be multipart/form-data"))?;
    let parts = parts(&call.body, &boundary);
    let lifetime = parts.iter().find(|part| part.field == "expires_in_seconds");
    let expires_secs = match lifetime {
        None => None,
        Some(part) => {
            let text = String::from_utf8_lossy(&part.content);
            let secs: Option<i64> = text.trim().parse().ok().filter(|secs| (3600..=7_776_000).contains(secs));
            Some(secs.ok_or_else(|| {
                Fault::invalid("expires_in_seconds: Input should be between 3600 and 7776000")
            })?)
        }
    };
    let Some(part) = parts.into_iter().find(|part| part.field == "file") else {
        return Err(Fault::invalid("file: Field required"));
    };
    let now = state.now_ms();
    let file = File {
        id: state.id("file"),
        account: call.account().to_owned(),
        name: part.name.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("unnamed").to_owned(),
        mime: part.mime,
        content: part.content,
        created_ms: now,
        expires_ms: expires_secs.map(|secs| now + secs * 1000),
    };
    let answer = file.json();
    let mut memory = state.memory();
    if memory.files.len() >= 10_000 {
        memory.files.remove(0);
    }
    memory.files.push(file);
    Ok(answer)
}

struct Part {
    field: String,
    name: String,
    mime: String,
    content: Bytes,
}

/// Splits a multipart body; malformed parts are left out.
fn parts(body: &Bytes, boundary: &str) -> Vec<Part> {
    let marker = format!("--{boundary}");
    let starts: Vec<usize> = memchr::memmem::find_iter(body, marker.as_bytes()).collect();
    let mut parts = Vec::new();
    for pair in starts.windows(2) {
        let section = body.slice(pair[0] + marker.len()..pair[1]);
        let Some(blank) = memchr::memmem::find(&section, b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&section[..blank]).into_owned();
        let end = section.len().saturating_sub(2).max(blank + 4);
        let content = section.slice((blank + 4).min(section.len())..end.min(section.len()));
        let parameter = |name: &str| {
            let (_, after) = head.split_once(&format!("{name}=\""))?;
            after.split('"').next().map(str::to_owned)
        };
        let mime = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
        });
        parts.push(Part {
            field: parameter(" name").unwrap_or_default(),
            name: parameter("filename").unwrap_or_default(),
            mime: mime.unwrap_or_else(|| "application/octet-stream".to_owned()),
            content,
        });
    }
    parts
}
