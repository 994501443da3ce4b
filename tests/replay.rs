//! The journal's decisions told and made again: by id, by body, under the same policy and under another.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use http::Method;
use serde_json::{Value, json};
use support::http::{ask, message, send};
use support::process::run;
use support::{ACME, House, TENANTS};
use tercet::simulated::Behaviour;

fn title() -> String {
    json!({ "model": "claude-opus-5-5", "max_tokens": 32,
        "system": "Summarize this conversation in a title of at most six words. Answer with the title only.",
        "messages": [{ "role": "user", "content": "Write a title for a conversation about: sorting" }] })
    .to_string()
}

/// Writes a file into the gateway's folder and returns its path.
fn file(house: &House, name: &str, text: &str) -> String {
    let path = house.folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn told(arguments: &[&str]) -> Value {
    let (code, out, error) = run(arguments);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn header_journal_command_and_admin_tell_the_same() {
    let house = House::start(TENANTS).await;
    let body = title();
    let answer = message(&house.url, ACME, body.clone()).await;
    let id = answer.header("x-tercet-request-id").to_owned();
    let data = house.folder.path().join("data");
    let config = house.folder.path().join("tercet.toml");
    let (data, config) = (data.to_str().unwrap(), config.to_str().unwrap());
    let record = house.records_when(1).await.remove(0);

    let by_id = run(&["explain", &id, "--journal", data, "--json"]).1;
    let by_file = run(&["explain", &file(&house, "body.json", &body), "--config", config, "--json"]).1;
    let url = format!("{}/admin/v1/explain", house.admin_url);
    let posted = send(Method::POST, &url, &[("content-type", "application/json")], body).await;
    let asked = send(Method::GET, &format!("{url}?request_id={id}"), &[], "").await;
    assert_eq!(by_id, by_file);
    assert_eq!(by_id.trim_end().as_bytes(), &posted.body[..]);
    assert_eq!(by_id.trim_end().as_bytes(), &asked.body[..]);

    let explained: Value = serde_json::from_str(&by_id).unwrap();
    let codes: Vec<&str> = explained["decision"]["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes.join(","), answer.header("x-tercet-reason"));
    for field in ["tier", "model", "reasons", "acted"] {
        assert_eq!(explained["decision"][field], record["decision"][field], "{field}");
    }
    for field in ["mode", "sent_model"] {
        assert_eq!(explained["decision"][field], record[field], "{field}, which the record says once");
    }
    assert_eq!(explained["decision"]["adaptations"], json!([]));
    for field in ["conversation", "workload", "policy_version"] {
        assert_eq!(explained[field], record["decision"][field], "{field}");
    }
    assert_eq!(explained["candidates"].as_array().unwrap().len(), 3);
    house.stop().await;
}

/// A later turn of a coding agent, with all that such a client says of itself.
#[tokio::test(flavor = "multi_thread")]
async fn an_agents_turn_takes_two_kibibytes_at_most() {
    let house = House::start(TENANTS).await;
    let text =
        |text: &str| json!([{ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } }]);
    let tool = |name: &str| json!({ "name": name, "description": "d", "input_schema": { "type": "object" } });
    let call = json!({ "type": "tool_use", "id": "toolu_1", "name": "Bash", "input": { "command": "ls" } });
    let body = json!({ "model": "claude-opus-5-5", "max_tokens": 32_000, "stream": true,
        "system": text(&"You are an agent that writes programs. ".repeat(40)),
        "tools": (["Bash", "Read", "Edit", "Write", "Grep", "Glob"].map(tool)),
        "thinking": { "type": "adaptive" }, "output_config": { "effort": "high" },
        "metadata": { "user_id": "user_0123456789abcdef" },
        "messages": [{ "role": "user", "content": "Find out why the test fails." },
            { "role": "assistant", "content": [call] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_1", "content": "a b" }] },
            { "role": "assistant", "content": "It is the clock." },
            { "role": "user", "content": text("Mend it.") }] });
    let headers = [
        ("x-api-key", ACME),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14"),
        ("content-type", "application/json"),
        ("user-agent", "claude-cli/2.1.79 (external, cli)"),
        ("x-claude-code-session-id", "5f0e4a2c-6a3b-4a2e-9f57-2f4f1d8d6c11"),
        ("x-tercet-tags", "team-a"),
    ];
    let url = format!("{}/v1/messages", house.url);
    assert_eq!(send(Method::POST, &url, &headers, body.to_string()).await.status, 200);
    house.records_when(1).await;
    let files = std::fs::read_dir(house.folder.path().join("data/exchanges")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let segment = files.into_iter().find(|file| file.extension().is_some_and(|end| end == "jsonl")).unwrap();
    let lines = std::fs::read_to_string(segment).unwrap();
    let line = lines.lines().find(|line| line.contains(r#""kind":"exchange""#)).unwrap();
    assert!(line.len() <= 2_048, "{} bytes: {line}", line.len());
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_policy_changes_nothing_and_another_is_priced() {
    let house = House::start(TENANTS).await;
    // Conversations, a refusal that moves one up, an unknown model, a forced tier, and text that must not be kept.
    let mut turns = vec![json!({ "role": "user", "content": "say sesame" })];
    for (number, text) in ["say one", "say two", "say three"].into_iter().enumerate() {
        if number == 1 {
            house.upstream.script(Behaviour::Refusal { category: None });
        }
        let body = json!({ "model": "claude-opus-5-5", "max_tokens": 4_000, "messages": turns }).to_string();
        let content = message(&house.url, ACME, body).await.json()["content"].clone();
        let content = if content == json!([]) { json!("no") } else { content };
        turns.push(json!({ "role": "assistant", "content": content }));
        turns.push(json!({ "role": "user", "content": text }));
    }
    message(&house.url, ACME, title()).await;
    message(&house.url, ACME, ask("claude-next-9", "say hi")).await;
    let headers = [("x-api-key", ACME), ("anthropic-version", "2023-06-01"), ("x-tercet-tier", "sonnet")];
    let url = format!("{}/v1/messages", house.url);
    send(Method::POST, &url, &headers, ask("claude-opus-5-5", "say forced")).await;
    let records = house.records_when(6).await;
    let written = serde_json::to_string(&records).unwrap();
    assert!(!written.contains("sesame") && !written.contains("six words"), "no text is kept");
    let reasons = |record: &Value| record["decision"]["reasons"].to_string();
    assert!(records.iter().any(|record| reasons(record).contains("trouble-refused")), "{records:?}");

    let data = house.folder.path().join("data");
    let same = house.folder.path().join("tercet.toml");
    let (data, same) = (data.to_str().unwrap(), same.to_str().unwrap());
    let replay = |policy: &str| told(&["replay", "--policy", policy, "--journal", data, "--json"]);
    let again = replay(same);
    assert_eq!(
        (&again["exchanges"], &again["changed"], &again["without_facts"]),
        (&6.into(), &0.into(), &0.into())
    );
    assert_eq!(again["cost_nanousd"], again["replayed_cost_nanousd"]);

    let off = replay(&file(&house, "off.toml", "[routing]\nmode = \"off\"\n"));
    assert!(off["changed"].as_u64().unwrap() >= 2, "{off}");
    assert!(off["replayed_cost_nanousd"].as_i64() > off["cost_nanousd"].as_i64(), "{off}");
    for change in off["changes"].as_array().unwrap() {
        assert_eq!(change["now"], "claude-opus-5-5", "{change}");
    }
    let (code, _, error) = run(&["replay", "--policy", "nowhere.toml", "--journal", data]);
    assert_eq!(code, 3, "{error}");
    let broken = file(&house, "broken.toml", "[routing]\nmood = \"off\"\n");
    let (code, _, error) = run(&["replay", "--policy", &broken, "--journal", data]);
    assert!(code == 3 && error.contains("mood"), "{error}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_tested_by_declared_cases() {
    let house = House::start(TENANTS).await;
    let config = house.folder.path().join("tercet.toml");
    let config = config.to_str().unwrap();
    file(&house, "title.json", &title());
    let good = r#"
        [[case]]
        name = "titles go down"
        body_file = "title.json"
        tier = "haiku"
        reason = "suffices"

        [[case]]
        name = "a header pins"
        tenant = "acme"
        headers = { "x-tercet-route" = "off" }
        body_file = "title.json"
        model = "claude-opus-5-5"
        reason = "route-off"

        [[case]]
        name = "a tool that haiku lacks cannot be forced"
        headers = { "x-tercet-tier" = "sonnet" }
        body = '{"model":"claude-opus-5","max_tokens":9,"tools":[{"name":"t"}],"tool_choice":{"type":"any"},"messages":[]}'
        refused = true
    "#;
    let test = |text: &str| {
        run(&["policy", "test", &file(&house, "cases.toml", text), "--config", config, "--json"])
    };
    let (code, out, error) = test(good);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{error}"));
    assert_eq!((code, &report["ok"]), (0, &true.into()), "{report}");
    assert_eq!(report["cases"].as_array().unwrap().len(), 3);
    let (code, out, _) = test(&good.replacen("tier = \"haiku\"", "tier = \"sonnet\"", 1));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["ok"], &report["cases"][0]["ok"]), (5, &false.into(), &false.into()));
    assert_eq!(report["cases"][0]["problem"], "tier is haiku, not sonnet");
    for broken in
        ["[[case]", "[[case]]\nname = \"a\"\nbody = \"{}\"\n", "[[case]]\nname = \"a\"\ntier = \"haiku\"\n"]
    {
        let (code, _, error) = test(broken);
        assert_eq!(code, 3, "{broken}: {error}");
    }
    assert_eq!(run(&["policy", "test", "nowhere.toml"]).0, 3);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_takes_its_share_by_session_and_a_reload_takes_it_back() {
    // Without a secret of ours, so that the file can be read again by this process.
    let house = House::start(
        "[upstream]\nbase_url = \"$UPSTREAM\"\n[routing]\nmode = \"off\"\n\
         [routing.canary]\nshare = 0.5\n[routing.canary.policy]\nmode = \"enforce\"\n",
    )
    .await;
    let url = format!("{}/v1/messages", house.url);
    let goes = async |session: &str| {
        let headers =
            [("x-api-key", ACME), ("anthropic-version", "2023-06-01"), ("x-claude-code-session-id", session)];
        send(Method::POST, &url, &headers, title()).await.header("x-tercet-tier").to_owned()
    };
    let mut down = 0;
    for number in 0..40 {
        let session = format!("s-{number}");
        let first = goes(&session).await;
        assert_eq!(goes(&session).await, first, "a session is on one side");
        down += usize::from(first == "haiku");
    }
    assert!((8..=32).contains(&down), "{down}");
    let data = house.folder.path().join("data");
    let same = house.folder.path().join("tercet.toml");
    let again =
        told(&["replay", "--policy", same.to_str().unwrap(), "--journal", data.to_str().unwrap(), "--json"]);
    assert_eq!((&again["changed"], &again["exchanges"]), (&0.into(), &80.into()));
    let text = std::fs::read_to_string(&same).unwrap();
    std::fs::write(&same, text.replace("share = 0.5", "share = 0.0")).unwrap();
    let json = [("content-type", "application/json")];
    let reloaded = send(Method::POST, &format!("{}/admin/v1/reload", house.admin_url), &json, "").await;
    assert_eq!(reloaded.status, 200, "{:?}", reloaded.body);
    for number in 0..40 {
        assert_eq!(goes(&format!("s-{number}")).await, "opus");
    }
    house.stop().await;
}
