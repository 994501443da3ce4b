//! What a person asks at a terminal beside a running gateway: usage, statusline, tail, top, reconcile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use http::Method;
use serde_json::{Value, json};
use support::http::{Answer, ask, send};
use support::process::{command, run};
use support::{ACME, House, RIVAL, TENANTS};

/// Posts a message as a client that names its session and tags.
async fn says(house: &House, key: &str, session: &str, tags: &str, body: String) -> Answer {
    let mut headers =
        vec![("x-api-key", key), ("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
    // What is not easy goes where it asks to.
    let route = if body.contains("short title") { "" } else { "off" };
    let named = [("x-claude-code-session-id", session), ("x-tercet-tags", tags), ("x-tercet-route", route)];
    headers.extend(named.iter().filter(|(_, value)| !value.is_empty()));
    let answer = send(Method::POST, &format!("{}/v1/messages", house.url), &headers, body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer
}

/// A small task that is sent down from the model asked for.
fn easy(text: &str) -> String {
    json!({ "model": "claude-opus-4-8", "max_tokens": 2_000, "system": "Write a short title.",
        "messages": [{ "role": "user", "content": text }] })
    .to_string()
}

fn journal(house: &House) -> String {
    house.folder.path().join("data").to_str().unwrap().to_owned()
}

fn cost(records: &[Value], holds: impl Fn(&Value) -> bool) -> i64 {
    records.iter().filter(|record| holds(record)).map(|record| record["cost_nanousd"].as_i64().unwrap()).sum()
}

async fn traffic(house: &House) -> Vec<Value> {
    says(house, ACME, "session-1", "sprint-7, shop", easy("say one")).await;
    says(house, ACME, "session-1", "shop", ask("claude-opus-5-5", "say two")).await;
    says(house, RIVAL, "session-2", "", easy("say three")).await;
    says(house, RIVAL, "", "sprint-7", ask("claude-opus-5-5", "say four")).await;
    house.records_when(4).await
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_summed_by_tag_and_by_session() {
    let house = House::start(TENANTS).await;
    let records = traffic(&house).await;
    let report = |by: &str| -> Value {
        let (code, out, told) = run(&["usage", "--by", by, "--journal", &journal(&house), "--json"]);
        assert_eq!(code, 0, "{told}");
        serde_json::from_str(&out).unwrap()
    };
    let tagged =
        |record: &Value, tag: &str| record["tags"].as_array().is_some_and(|tags| tags.contains(&tag.into()));
    let by_tag = report("tag");
    let found: Vec<(&str, i64)> = by_tag["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["key"]["tag"].as_str().unwrap(), row["cost_nanousd"].as_i64().unwrap()))
        .collect();
    let of = |tag: &str| cost(&records, |record| tagged(record, tag));
    assert_eq!(
        found,
        [
            ("", cost(&records, |record| record.get("tags").is_none())),
            ("shop", of("shop")),
            ("sprint-7", of("sprint-7"))
        ]
    );
    assert_eq!(by_tag["totals"]["cost_nanousd"], cost(&records, |_| true), "each request once");
    assert_eq!(by_tag["totals"]["requests"], 4);

    let by_session = report("session,model");
    let rows = by_session["rows"].as_array().unwrap();
    let first: i64 = rows
        .iter()
        .filter(|row| row["key"]["session"] == "session-1")
        .map(|row| row["cost_nanousd"].as_i64().unwrap())
        .sum();
    assert_eq!(first, cost(&records, |record| record["session_id"] == "session-1"));
    assert_eq!(rows.len(), 4, "{rows:#?}");
    let (_, csv, _) =
        run(&["usage", "--by", "session", "--since", "1d", "--journal", &journal(&house), "--csv"]);
    assert!(csv.starts_with("session,requests,") && csv.contains("\nsession-2,1,"), "{csv}");
    let (_, shown, _) = run(&["usage", "--by", "tag", "--journal", &journal(&house)]);
    assert!(shown.contains("Tag") && shown.contains("sprint-7"), "{shown}");
    house.stop().await;
}

/// Runs `statusline` with what Claude Code says of a session.
fn statusline(url: &str, told: &str) -> (i32, String) {
    let mut child =
        command(&["statusline", "--url", url]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(told.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_line_says_what_the_session_spent_and_never_fails() {
    let house = House::start(TENANTS).await;
    for number in 0..3 {
        // Dear enough to be told in cents.
        let body = json!({ "model": "claude-opus-4-8", "max_tokens": 8_000, "system": "Write a short title.",
            "messages": [{ "role": "user", "content": format!("write 3000 words {number}") }] });
        says(&house, ACME, "session-1", "", body.to_string()).await;
    }
    says(&house, RIVAL, "session-2", "", easy("say hello")).await;
    let records = house.records_when(4).await;
    let of_session = |record: &Value| record["session_id"] == "session-1";
    let (spent, all) = (cost(&records, of_session), cost(&records, |_| true));
    let baseline: i64 = records
        .iter()
        .filter(|record| of_session(record))
        .map(|record| record["baseline_nanousd"]["requested"].as_i64().unwrap())
        .sum();
    let cents = |nanos: i64| {
        format!("${}.{:02}", (nanos + 5_000_000) / 1_000_000_000, (nanos + 5_000_000) / 10_000_000 % 100)
    };
    let told = |session: &str| {
        json!({ "hook_event_name": "Status", "session_id": session, "cwd": "/",
            "model": { "id": "claude-opus-4-8", "display_name": "Opus 4.8" }, "cost": { "total_cost_usd": 0.5 } }).to_string()
    };
    let (code, line) = statusline(&house.admin_url, &told("session-1"));
    let saved = baseline - spent;
    assert!(saved > 10_000_000, "{saved}");
    let wanted = format!(
        "Opus 4.8 | session {}, saved {} ({} %) | today {}\n",
        cents(spent),
        cents(saved),
        saved * 100 / baseline,
        cents(all)
    );
    assert_eq!((code, line), (0, wanted));
    let (code, line) = statusline(&house.admin_url, &told("session-9"));
    assert_eq!((code, line), (0, format!("Opus 4.8 | session $0.50 | today {}\n", cents(all))));
    assert_eq!(statusline(&house.admin_url, "no JSON"), (0, "\n".to_owned()));
    let nobody = house.admin_url.clone();
    house.stop().await;
    assert_eq!(statusline(&nobody, &told("session-1")), (0, "Opus 4.8 | session $0.50\n".to_owned()));
}

/// A child that is killed when dropped, read line by line.
struct Following {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Following {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_what_was_and_follows_what_comes() {
    let house = House::start(TENANTS).await;
    let records = traffic(&house).await;
    let path = journal(&house);
    let shown = |arguments: &[&str]| -> Vec<String> {
        let (code, out, told) = run(&[&["tail", "--no-follow", "--journal", &path], arguments].concat());
        assert_eq!(code, 0, "{told}");
        out.lines().map(str::to_owned).collect()
    };
    assert_eq!(shown(&[]).len(), 4);
    let last = shown(&["-n", "1"]);
    assert_eq!(last.len(), 1);
    assert!(last[0].contains("rival/rob claude-opus-5-5 ") && last[0].contains(" 200 "), "{}", last[0]);
    let routed = shown(&["--session", "session-2"]);
    assert!(routed.len() == 1 && routed[0].contains("claude-opus-4-8 → claude-haiku-5-5"), "{routed:?}");
    assert_eq!(shown(&["--tenant", "acme", "--tag", "shop"]).len(), 2);
    assert_eq!(shown(&["--model", "claude-haiku-5-5"]).len(), 2);
    assert_eq!((shown(&["--failed"]).len(), shown(&["--outcome", "ok"]).len()), (0, 4));
    let exact: Vec<Value> =
        shown(&["--json", "--user", "ann"]).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let wanted: Vec<&Value> = records.iter().filter(|record| record["user_id"] == "ann").collect();
    assert_eq!(exact.iter().collect::<Vec<_>>(), wanted);

    let mut following =
        Following::start(command(&["tail", "-n", "1", "--json", "--journal", &path, "--tenant", "acme"]));
    let before: Value = serde_json::from_str(&following.next()).unwrap();
    assert_eq!(before["request_id"], wanted.last().unwrap()["request_id"]);
    says(&house, RIVAL, "", "", easy("say what is not shown")).await;
    let answer = says(&house, ACME, "", "", easy("say what is shown")).await;
    let next: Value = serde_json::from_str(&following.next()).unwrap();
    assert_eq!(next["request_id"], answer.header("x-tercet-request-id"));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn top_shows_the_gateway_once_and_on_a_whole_screen() {
    let text = format!("{TENANTS}\n[tenants.acme.budget]\ndaily = \"1 USD\"\n");
    let house = House::start(&text).await;
    let records = traffic(&house).await;
    let (code, out, told) = run(&["top", "--once", "--json", "--url", &house.admin_url]);
    assert_eq!(code, 0, "{told}");
    let overview: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(overview["today"]["spent_nanousd"], cost(&records, |_| true));
    assert_eq!(
        (&overview["today"]["requests"], overview["recent"].as_array().unwrap().len()),
        (&4.into(), 4)
    );
    let acme = &overview["tenants"][0];
    assert_eq!(acme["budgets"][0]["spent_nanousd"], cost(&records, |record| record["tenant"] == "acme"));

    let (_, frame, _) = run(&["top", "--once", "--url", &house.admin_url]);
    for text in
        ["ready  routing enforce  0 in flight", "4 requests", "Tenant", "acme/ann", "claude-haiku-5-5"]
    {
        assert!(frame.contains(text), "{text}: {frame}");
    }
    assert!(!frame.contains('\u{1b}'), "no terminal, no sequences");

    let screen = on_a_terminal(&["top", "--every", "100ms", "--url", &house.admin_url], "Tenant");
    assert!(
        screen.starts_with("\u{1b}[?1049h") && screen.trim_end().ends_with("\u{1b}[?1049l"),
        "{screen:?}"
    );
    assert!(screen.contains("a minute") && screen.contains("acme/ann"), "{screen:?}");

    let nobody = house.admin_url.clone();
    house.stop().await;
    let (code, _, told) = run(&["top", "--once", "--url", &nobody]);
    assert!(code == 6 && told.contains("does not answer"), "{told}");
}

/// Runs a command on a terminal of its own and presses `q` once it has drawn a text for the third time.
fn on_a_terminal(arguments: &[&str], text: &str) -> String {
    let typed = format!("{} {}", env!("CARGO_BIN_EXE_tercet"), arguments.join(" "));
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-c", &typed, "/dev/null"]).stdin(Stdio::piped());
    let mut child = script.stdout(Stdio::piped()).spawn().unwrap();
    let (mut keys, mut out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
    let mut pressed = false;
    loop {
        let count = out.read(&mut buffer).unwrap_or(0);
        if count == 0 {
            break;
        }
        shown.extend_from_slice(&buffer[..count]);
        if !pressed && String::from_utf8_lossy(&shown).matches(text).count() >= 3 {
            keys.write_all(b"q").unwrap();
            pressed = true;
        }
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(shown).unwrap()
}

const ADMIN_KEY: &str = "sk-ant-admin01-of-the-tests";

/// Runs `reconcile` with an admin key.
fn reconcile(house: &House, key: &str, arguments: &[&str]) -> (i32, String, String) {
    let file = house.folder.path().join("tercet.toml");
    let config = ["reconcile", "--config", file.to_str().unwrap()];
    let mut command = command(&[&config, arguments].concat());
    let output = command.env("ANTHROPIC_ADMIN_KEY", key).stdout(Stdio::piped()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_reconciled_with_the_upstream_s_reports() {
    let house = House::start(TENANTS).await;
    let records = traffic(&house).await;
    let (code, out, told) = reconcile(&house, ADMIN_KEY, &["--since", "40d", "--json", "--within", "0"]);
    assert_eq!(code, 0, "{out}{told}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["totals"]["ours"]["cost_nanousd"], cost(&records, |_| true));
    assert_eq!(report["totals"]["theirs"], report["totals"]["ours"], "to the token and the nano-dollar");
    let rows = report["rows"].as_array().unwrap();
    let models: Vec<&str> = rows.iter().map(|row| row["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["claude-haiku-5-5", "claude-opus-5-5"]);
    assert!(rows.iter().all(|row| row["difference_nanousd"] == 0), "{rows:#?}");
    let asked: Vec<String> = house
        .upstream
        .requests()
        .iter()
        .filter(|seen| seen.path.starts_with("/v1/organizations"))
        .map(|seen| seen.path.clone())
        .collect();
    assert_eq!(asked.len(), 4, "41 days are two pages of each report: {asked:?}");
    assert!(asked.iter().filter(|path| path.contains("&page=page_")).count() == 2, "{asked:?}");

    // What goes past the gateway is in the reports alone.
    let headers = [
        ("x-api-key", "sk-other"),
        ("anthropic-version", "2023-06-01"),
        ("content-type", "application/json"),
    ];
    let url = format!("{}/v1/messages", house.upstream.url());
    assert_eq!(
        send(Method::POST, &url, &headers, ask("claude-opus-5-5", "write 500 words")).await.status,
        200
    );
    let billed: u64 = house.upstream.bill().iter().map(|call| call.nanousd).sum();
    let (code, out, _) = reconcile(&house, ADMIN_KEY, &["--json", "--within", "1"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["totals"]["theirs"]["cost_nanousd"]), (4, &billed.into()));
    let (code, shown, _) = reconcile(&house, ADMIN_KEY, &[]);
    assert!(code == 0 && shown.contains("Reported cost") && shown.contains("claude-opus-5-5"), "{shown}");
    let (_, csv, _) = reconcile(&house, ADMIN_KEY, &["--csv"]);
    assert!(
        csv.starts_with("day,model,tokens,reported_tokens,cost_usd,reported_cost_usd,difference_usd\n"),
        "{csv}"
    );

    let (code, _, told) = reconcile(&house, "sk-ant-api03-is-no-admin-key", &[]);
    assert!(
        code == 1 && told.contains("refused (401): invalid x-api-key") && !told.contains("api03"),
        "{told}"
    );
    let file = house.folder.path().join("tercet.toml");
    let (code, _, told) =
        run(&["reconcile", "--config", file.to_str().unwrap(), "--key-env", "TERCET_NO_SUCH_KEY"]);
    assert!(code == 2 && told.contains("TERCET_NO_SUCH_KEY is not set"), "{told}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulated_reports_are_as_strict_as_the_real_ones() {
    let house = House::start(TENANTS).await;
    let status = async |key: &str, path: &str| {
        let headers = [("x-api-key", key), ("anthropic-version", "2023-06-01")];
        send(Method::GET, &format!("{}/v1/organizations/{path}", house.upstream.url()), &headers, "")
            .await
            .status
    };
    let since = "starting_at=2026-11-01T00:00:00Z";
    for (path, wanted) in [
        (format!("cost_report?{since}&ending_at=2026-11-03T00:00:00Z&group_by[]=description"), 200),
        (format!("usage_report/messages?{since}&bucket_width=1h&limit=168"), 200),
        ("cost_report".to_owned(), 400),
        (format!("cost_report?{since}&bucket_width=1h"), 400),
        (format!("cost_report?{since}&group_by[]=model"), 400),
        (format!("usage_report/messages?{since}&limit=32"), 400),
        (format!("usage_report/messages?{since}&unknown=1"), 400),
        (format!("usage_report/messages?{since}&page=2"), 400),
        (format!("usage_report/messages?{since}&ending_at=2026-10-01T00:00:00Z"), 400),
        ("usage_report/messages?starting_at=yesterday".to_owned(), 400),
    ] {
        assert_eq!(status(ADMIN_KEY, &path).await, wanted, "{path}");
    }
    assert_eq!(status("sk-ant-api03-x", &format!("cost_report?{since}")).await, 401);
    house.stop().await;
}
