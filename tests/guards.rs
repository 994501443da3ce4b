//! Guards through the gateway: what the upstream is sent, what the client sees, what is written down, and what is not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

#[path = "guards/answers.rs"]
mod answers;
#[path = "guards/conversations.rs"]
mod conversations;

use http::Method;
use serde_json::{Value, json};
use support::http::{Answer, ask, get, message, send};
use support::read::metric;
use support::{ACME, House, TENANTS};
use tercet::simulated::Behaviour;

const KEY: &str = "AKIAQ3EGSDKJ7RTYPLMN";
const REDACT: &str = "[redaction]\nkey = { env = \"REDACTION_KEY\" }\n[[guards]]\ndetect = [\"secrets\", \"pii\"]\naction = \"redact\"\n";

/// Starts a gateway with guards, in front of tenants.
async fn guarded(guards: &str) -> House {
    House::start(&format!("{TENANTS}\n{guards}")).await
}

/// Returns the body of the last request that the upstream was sent.
fn sent(house: &House) -> String {
    String::from_utf8(house.upstream.requests().last().unwrap().body.clone()).unwrap()
}

/// Returns the first placeholder in a text.
fn placeholder(text: &str) -> String {
    let at = text.find("REDACTED_").unwrap_or_else(|| panic!("no placeholder in {text}"));
    text[at..].chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect()
}

fn text_of(answer: &Answer) -> String {
    let blocks = answer.json()["content"].clone();
    blocks.as_array().unwrap().iter().filter_map(|block| block["text"].as_str()).collect()
}

/// Joins what the deltas of a stream hold.
fn streamed(answer: &Answer, field: &str) -> String {
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|data| {
        serde_json::from_str::<Value>(data).unwrap()["delta"][field].as_str().map(str::to_owned)
    })
    .collect()
}

fn streaming(body: &str) -> String {
    let mut body: Value = serde_json::from_str(body).unwrap();
    body["stream"] = json!(true);
    body.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_redacted_is_put_back_in_the_answer() {
    let house = guarded(REDACT).await;
    let body = ask("claude-opus-5-5", &format!("mail ada@acme.io the key {KEY}"));
    let first = message(&house.url, ACME, body.clone()).await;
    assert_eq!(first.status, 200);
    assert_eq!(first.header("x-tercet-guard"), "redact:email=1, redact:aws-key=1");
    let up = sent(&house);
    assert!(!up.contains("ada@acme.io") && !up.contains(KEY), "{up}");
    let mail = placeholder(&up);
    assert!(mail.starts_with("REDACTED_EMAIL_"), "{mail}");
    house.upstream.script(Behaviour::Say { text: format!("To {mail}: \"hi\" {mail}.") });
    let whole = message(&house.url, ACME, body.clone()).await;
    assert!(text_of(&whole).contains("To ada@acme.io: \"hi\" ada@acme.io."), "{}", text_of(&whole));
    assert_eq!(sent(&house), up, "the same placeholder every time");
    for sizes in [vec![1], vec![7, 3], vec![64]] {
        house.upstream.script(Behaviour::Together {
            behaviours: vec![
                Behaviour::Say { text: format!("To {mail}: {mail}.") },
                Behaviour::OddChunks { sizes },
                Behaviour::CrLf,
            ],
        });
        let stream = message(&house.url, ACME, streaming(&body)).await;
        assert!(streamed(&stream, "text").contains("To ada@acme.io: ada@acme.io."));
        assert!(!String::from_utf8_lossy(&stream.body).contains("REDACTED"));
    }
    let records = house.records_when(5).await;
    assert_eq!(
        records[0]["guards"][0],
        json!({ "found": "email", "in": "prompt", "action": "redact", "count": 1 })
    );
    let page = get(&house.admin_url, "", "/metrics").await;
    let page = String::from_utf8_lossy(&page.body).into_owned();
    assert_eq!(metric(&page, "tercet_guard_finds_total", "found=\"email\""), 5_000_000_000);
    let (_, folder) = house.stop().await;
    for file in walk(folder.path()) {
        let bytes = std::fs::read(&file).unwrap();
        for text in [b"ada@acme.io".as_slice(), KEY.as_bytes()] {
            assert!(memchr::memmem::find(&bytes, text).is_none(), "{}", file.display());
        }
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_called_with_what_the_client_knows() {
    let house = guarded(REDACT).await;
    let tools =
        json!([{ "name": "mail", "description": "Sends mail", "input_schema": { "type": "object" } }]);
    let mut body: Value = serde_json::from_str(&ask("claude-opus-5-5", "mail ada@acme.io")).unwrap();
    body["tools"] = tools;
    message(&house.url, ACME, body.to_string()).await;
    let mail = placeholder(&sent(&house));
    for stream in [false, true] {
        house
            .upstream
            .script(Behaviour::CallTool { name: "mail".to_owned(), input: json!({ "to": [mail], "n": 1 }) });
        body["stream"] = json!(stream);
        let answer = message(&house.url, ACME, body.to_string()).await;
        let input: Value = if stream {
            serde_json::from_str(&streamed(&answer, "partial_json")).unwrap()
        } else {
            let blocks = answer.json()["content"].clone();
            blocks.as_array().unwrap().iter().find(|block| block["type"] == "tool_use").unwrap()["input"]
                .clone()
        };
        assert_eq!(input, json!({ "to": ["ada@acme.io"], "n": 1 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_nothing_to_redact_is_passed_byte_for_byte() {
    let house = guarded(&format!("{REDACT}[tenants.acme.routing]\nmode = \"off\"\n")).await;
    let body = r#"{"model" :"claude-opus-5-5", "max_tokens":100,"messages":[{"role":"user","content":"caf\u00e9 \ud83d\ude00 10.0.0.1 ada@example.com"}] }"#;
    let answer = message(&house.url, ACME, body).await;
    assert_eq!((answer.status, answer.header("x-tercet-guard")), (200, ""));
    assert_eq!(sent(&house), body);
    assert_eq!(house.records_when(1).await[0].get("guards"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_not_sent_and_not_told() {
    let house = guarded("[[tenants.acme.guards]]\ndetect = [\"secrets\"]\naction = \"refuse\"\n").await;
    let body = ask("claude-opus-5-5", &format!("use {KEY}"));
    let answer = message(&house.url, ACME, body.clone()).await;
    assert_eq!((answer.status, answer.header("x-tercet-guard")), (400, "refuse:aws-key=1"));
    let error = answer.json();
    assert_eq!(error["error"]["type"], "invalid_request_error");
    assert_eq!(error["error"]["message"], "messages.0: this tenant does not allow aws-key in prompts");
    assert!(house.upstream.requests().is_empty());
    let record = house.records_when(1).await.remove(0);
    assert_eq!(
        record["guards"],
        json!([{ "found": "aws-key", "in": "prompt", "action": "refuse", "count": 1 }])
    );
    assert_eq!(house.tercet.runtime.accounts.reserved_total().nanousd, 0);
    // Another tenant has no such guard.
    assert_eq!(message(&house.url, support::RIVAL, body.clone()).await.status, 200);
    let url = format!("{}/v1/messages/count_tokens", house.url);
    let headers =
        [("x-api-key", ACME), ("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
    let count = send(Method::POST, &url, &headers, body.replace("\"max_tokens\":1000,", "")).await;
    assert_eq!(count.status, 400, "a count is sent up like a message");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_gets_round_the_guards_unseen() {
    let house = guarded("[[tenants.acme.guards]]\ndetect = [\"email\"]\naction = \"refuse\"\n").await;
    let headers =
        [("x-api-key", ACME), ("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
    for path in ["/v1/messages/batches", "/v1/files"] {
        let answer = send(Method::POST, &format!("{}{path}", house.url), &headers, "{\"requests\":[]}").await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["type"]),
            (403, &json!("permission_error")),
            "{path}"
        );
    }
    assert!(house.upstream.requests().is_empty());
    let flags = guarded(
        "[[tenants.acme.guards]]\ndetect = [\"email\"]\naction = \"flag\"\nin = [\"prompt\", \"answer\"]\n",
    )
    .await;
    let item = json!({ "requests": [{ "custom_id": "a", "params": serde_json::from_str::<Value>(&ask("claude-opus-5-5", "hi")).unwrap() }] });
    let answer =
        send(Method::POST, &format!("{}/v1/messages/batches", flags.url), &headers, item.to_string()).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_content_and_tools_are_bounded() {
    let house = guarded(
        "[[tenants.acme.guards]]\nmax_messages = 2\nmax_text = \"20 B\"\nallow_content = [\"text\"]\ndeny_tools = [\"bash\"]\n\
         [[tenants.acme.guards]]\nmax_output_tokens = 500\naction = \"flag\"\n",
    )
    .await;
    let body = |change: &dyn Fn(&mut Value)| {
        let mut body: Value = serde_json::from_str(&ask("claude-opus-5-5", "hi")).unwrap();
        change(&mut body);
        body.to_string()
    };
    let flagged = message(&house.url, ACME, body(&|_| {})).await;
    assert_eq!((flagged.status, flagged.header("x-tercet-guard")), (200, "flag:max-output-tokens=1"));
    let user = json!({ "role": "user", "content": "x" });
    let cases: [(&str, u16, String); 4] = [
        ("refuse:max-messages=1", 400, body(&|body| body["messages"] = json!([user, user, user]))),
        ("refuse:max-text=1", 400, body(&|body| body["messages"][0]["content"] = json!("x".repeat(21)))),
        (
            "refuse:tool=1",
            403,
            body(&|body| body["tools"] = json!([{ "name": "bash", "input_schema": { "type": "object" } }])),
        ),
        (
            "refuse:content=1",
            400,
            body(&|body| {
                body["messages"][0]["content"] = json!([{ "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": "x" } }]);
            }),
        ),
    ];
    for (found, status, body) in cases {
        let answer = message(&house.url, ACME, body).await;
        assert_eq!((answer.status, answer.header("x-tercet-guard")), (status, found));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_answer_has_placeholders_and_is_given_with_texts() {
    let house = guarded(&format!("{REDACT}[cache]\nenabled = true\n")).await;
    let body = ask("claude-opus-5-5", "mail ada@acme.io");
    let count = body.replace("\"max_tokens\":1000,", "");
    let headers =
        [("x-api-key", ACME), ("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
    let url = format!("{}/v1/messages/count_tokens", house.url);
    assert_eq!(send(Method::POST, &url, &headers, count).await.status, 200);
    let mail = placeholder(&sent(&house));
    house.upstream.script(Behaviour::Say { text: format!("for {mail}") });
    let first = message(&house.url, ACME, body.clone()).await;
    assert!(text_of(&first).contains("for ada@acme.io"));
    for form in [body.clone(), streaming(&body)] {
        let again = message(&house.url, ACME, form).await;
        assert_eq!(again.header("x-tercet-cache"), "hit");
        let text = String::from_utf8_lossy(&again.body).into_owned();
        assert!(text.contains("for ada@acme.io") && !text.contains("REDACTED"), "{text}");
    }
    // Another address is another request.
    let other = message(&house.url, ACME, body.replace("ada@", "bob@")).await;
    assert_eq!(other.header("x-tercet-cache"), "miss");
}
