//! The command line as its users meet it: exit codes, both streams, and forms that scripts rely on.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "cli/prices.rs"]
mod prices;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tercet::clock::Clock;
use tercet::config;
use tercet::id::RequestId;
use tercet::journal::{Baselines, ExchangeRecord, Journal, Outcome};
use tercet::money::NanoUsd;
use tercet::tier::Tier;
use tercet::usage::Usage;

/// What a command came to.
struct Ended {
    code: i32,
    out: String,
    error: String,
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("not JSON: {}{}", self.out, self.error))
    }
}

fn tercet(folder: &Path, arguments: &[&str], input: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tercet"));
    command.args(arguments).current_dir(folder).env("XDG_DATA_HOME", folder.join("none"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), out: text(output.stdout), error: text(output.stderr) }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Writes a journal of three exchanges on two days into `folder/data`.
fn journal(folder: &Path) -> Vec<RequestId> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let settings = config::Journal {
        path: folder.join("data"),
        fsync: Duration::from_millis(1),
        ..config::default_config().journal
    };
    let clock = Clock::manual("2026-11-20T12:00:00Z".parse().unwrap());
    let (journal, _) = Journal::open(&settings, &clock, |_, _| {}).unwrap();
    let exchanges = [
        ("2026-11-19T23:00:00Z", "acme", "ann", 1_500_000_000),
        ("2026-11-20T08:00:00Z", "acme", "=bob", 500_000),
        ("2026-11-20T09:00:00Z", "initech", "eve", 20_000_000),
    ];
    let ids = exchanges.map(|(time, tenant, user, cost)| {
        let id = RequestId::generate();
        let asked = "claude-opus-5-5".to_owned();
        let mut record = ExchangeRecord::begin(id.clone(), time.parse().unwrap(), tenant.into(), asked);
        record.user_id = Some(user.to_owned());
        record.sent_model = Some("claude-haiku-5-5".to_owned());
        record.tier = Tier::Haiku;
        record.outcome = Outcome::Ok;
        record.set_usage(&Usage {
            input_tokens: 1_000,
            output_tokens: 200,
            cache_read_tokens: 30_000,
            cache_write_5m_tokens: 40,
            cache_write_1h_tokens: 5,
        });
        record.cost_nanousd = NanoUsd(cost);
        record.baseline_nanousd = Baselines { requested: NanoUsd(2 * cost), all_opus: NanoUsd(2 * cost) };
        record.cache = Some(if user == "=bob" { "joined" } else { "miss" }.to_owned());
        record.cache_saved_nanousd = NanoUsd(if user == "=bob" { 700_000 } else { 0 });
        record.decision = serde_json::from_str(DECISION).ok();
        runtime.block_on(journal.append(&record.into())).unwrap();
        id
    });
    runtime.block_on(journal.flush_and_close()).unwrap();
    ids.to_vec()
}

const DECISION: &str = r#"{"tier":"haiku","model":"claude-haiku-5-5","reasons":[{"code":"title","weight":1000}],
    "adaptations":[],"mode":"enforce","acted":true,"sent_model":"claude-haiku-5-5","policy_version":"0123456789ab"}"#;

fn segment(folder: &Path) -> std::path::PathBuf {
    let files = fs::read_dir(folder.join("data/exchanges")).unwrap();
    let mut paths = files.map(|file| file.unwrap().path());
    paths.find(|path| path.extension().is_some_and(|extension| extension == "jsonl")).unwrap()
}

#[test]
fn each_way_to_end_has_its_own_exit_code() {
    let folder = folder();
    fs::write(folder.path().join("bad.toml"), "[server]\nlisten = \"nowhere\"\n").unwrap();
    fs::write(folder.path().join("good.toml"), "").unwrap();
    let cases: &[(&[&str], i32)] = &[
        (&["--version"], 0),
        (&["help"], 0),
        (&["check", "good.toml"], 0),
        (&["usage", "--journal", "nowhere"], 1),
        (&["explain", "nowhere.json"], 1),
        (&["explain", "tct_nowhere", "--journal", "nowhere"], 1),
        (&[], 2),
        (&["fly"], 2),
        (&["usage", "--by", "colour"], 2),
        (&["usage", "--since", "yesterday"], 2),
        (&["run", "--enforce", "--shadow"], 2),
        (&["health", "--url", "not an address"], 2),
        (&["check", "bad.toml"], 3),
        (&["check", "absent.toml"], 3),
        (&["run", "--config", "bad.toml"], 3),
        (&["keys", "list", "--config", "bad.toml"], 3),
        (&["health", "--url", "http://127.0.0.1:1"], 6),
    ];
    for (arguments, code) in cases {
        let ended = tercet(folder.path(), arguments, "");
        assert_eq!(ended.code, *code, "{arguments:?}: {}{}", ended.out, ended.error);
        assert!(
            !ended.out.contains('\u{1b}') && !ended.error.contains('\u{1b}'),
            "{arguments:?} is coloured"
        );
    }
}

#[test]
fn check_shows_the_place_of_a_mistake_and_what_was_meant() {
    let folder = folder();
    fs::write(folder.path().join("tercet.toml"), "[server]\nlisen = \"127.0.0.1:1\"\n").unwrap();
    let ended = tercet(folder.path(), &["check"], "");
    let expected = "tercet.toml:2:1\n  |\n2 | lisen = \"***\"\n  | ^^^^^";
    assert_eq!(ended.code, 3);
    assert!(ended.error.starts_with("error: ") && ended.error.contains(expected), "{}", ended.error);
    assert!(ended.error.contains("listen"), "{}", ended.error);
    let json = tercet(folder.path(), &["check", "--json"], "");
    assert_eq!((json.code, json.json()["ok"].clone()), (3, Value::Bool(false)));
    assert_eq!(json.json()["problems"][0]["line"], 2);
}

#[test]
fn check_sums_up_a_good_file_and_tells_no_secret() {
    let folder = folder();
    let hash = "blake3:0000000000000000000000000000000000000000000000000000000000000001";
    let text = format!("[tenants.team]\n[[tenants.team.keys]]\nid = \"one\"\nhash = \"{hash}\"\n");
    fs::write(folder.path().join("team.toml"), text).unwrap();
    let ended = tercet(folder.path(), &["check", "team.toml"], "");
    let lines: Vec<&str> = ended.out.lines().collect();
    let expected = [
        "ok: team.toml",
        "  listen    http://127.0.0.1:8787",
        "  admin     http://127.0.0.1:8788",
        "  upstream  https://api.anthropic.com/ with the caller's credential",
        "  tenants   1 (keys: 1, users with ceilings of their own: 0)",
        "  routing   shadow (decides and records, sends as asked)",
        "  journal   data",
    ];
    assert_eq!((ended.code, lines.get(..7)), (0, Some(&expected[..])), "{}", ended.error);
    let json = tercet(folder.path(), &["check", "team.toml", "--json"], "");
    assert_eq!(json.json()["config"]["tenants"]["team"]["keys"][0]["id"], "one");
    assert!(!json.out.contains(hash));
}

#[test]
fn a_created_key_has_the_hash_that_hashing_it_gives() {
    let folder = folder();
    let created = tercet(folder.path(), &["keys", "create", "--json", "--id", "ci"], "").json();
    let key = created["key"].as_str().unwrap();
    assert!(key.starts_with("tct-") && key.len() == 47, "{key}");
    assert_eq!(created["id"], "ci");
    for arguments in [&["keys", "hash", "-"][..], &["keys", "hash"]] {
        let hashed = tercet(folder.path(), arguments, &format!("{key}\n"));
        assert_eq!(hashed.out.trim_end(), created["hash"].as_str().unwrap());
    }
    assert_eq!(tercet(folder.path(), &["keys", "hash"], "two words").code, 2);
}

#[test]
fn what_keys_create_prints_can_be_pasted_into_a_configuration() {
    let folder = folder();
    let arguments = ["keys", "create", "--tenant", "my team", "--user", "a \"quoted\" ann", "--id", "ann-1"];
    let created = tercet(folder.path(), &arguments, "").out;
    let lines = created.find("[[tenants").map(|start| &created[start..]).unwrap();
    fs::write(folder.path().join("tercet.toml"), lines).unwrap();
    let listed = tercet(folder.path(), &["keys", "list", "--json"], "").json();
    let key = &listed["keys"][0];
    assert_eq!(
        (&key["tenant"], &key["user"], &key["id"]),
        (&"my team".into(), &"a \"quoted\" ann".into(), &"ann-1".into())
    );
}

#[test]
fn usage_lays_out_what_the_journal_holds() {
    let folder = folder();
    journal(folder.path());
    let shown = tercet(folder.path(), &["usage", "--journal", "data"], "");
    let expected = "\
Day         Requests  Input  Output  Cache write  Cache read  Total tokens  Cost (USD)   Saved
----------------------------------------------------------------------------------------------
2026-11-19         1  1,000     200           45      30,000        31,245      1.5000  1.5000
2026-11-20         2  2,000     400           90      60,000        62,490      0.0205  0.0205
----------------------------------------------------------------------------------------------
Total              3  3,000     600          135      90,000        93,735      1.5205  1.5205
";
    assert_eq!(shown.out, expected, "{}", shown.error);
}

#[test]
fn usage_selects_splits_and_exports_exactly() {
    let folder = folder();
    journal(folder.path());
    let ask = |arguments: &[&str]| {
        tercet(folder.path(), &[&["usage", "--journal", "data"], arguments].concat(), "")
    };
    let json =
        ask(&["--by", "tenant,user", "--since", "2026-11-20", "--until", "2026-11-20", "--json"]).json();
    assert_eq!(json["totals"]["cost_nanousd"], 20_500_000);
    assert_eq!(json["rows"][1]["key"]["tenant"], "initech");
    let acme = ask(&["--tenant", "acme", "--by", "month", "--json"]).json();
    assert_eq!((&acme["totals"]["requests"], acme["rows"].as_array().map(Vec::len)), (&2.into(), Some(1)));
    assert_eq!(ask(&["--user", "eve", "--json"]).json()["totals"]["requests"], 1);
    assert_eq!(ask(&["--model", "claude-opus-5-5", "--json"]).json()["totals"]["requests"], 0);
    let csv = ask(&["--by", "user", "--tenant", "acme", "--since", "2026-11-20", "--csv"]).out;
    let expected = "user,requests,input_tokens,output_tokens,cache_write_5m_tokens,cache_write_1h_tokens,\
        cache_read_tokens,total_tokens,cost_usd,saved_usd,cache_hits,cache_joined,cache_misses,cache_bypassed,\
        cache_saved_usd\n'=bob,1,1000,200,40,5,30000,31245,0.000500000,0.000500000,0,1,0,0,0.000700000\n";
    assert_eq!(csv, expected);
}

#[test]
fn usage_shows_what_the_response_cache_did() {
    let folder = folder();
    journal(folder.path());
    let shown = tercet(folder.path(), &["usage", "--journal", "data", "--cache", "--by", "tenant"], "");
    let expected = "\
Tenant   Requests  Hits  Joined  Misses  Bypassed  Saved (USD)
--------------------------------------------------------------
acme            2     0       1       1         0       0.0007
initech         1     0       0       1         0       0.0000
--------------------------------------------------------------
Total           3     0       1       2         0       0.0007
";
    assert_eq!(shown.out, expected, "{}", shown.error);
}

#[test]
fn an_edited_journal_fails_verification_and_is_not_summed() {
    let folder = folder();
    journal(folder.path());
    assert_eq!(tercet(folder.path(), &["audit", "verify", "data"], "").code, 0);
    let path = segment(folder.path());
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"cost_nanousd\":500000,", "\"cost_nanousd\":400000,", 1)).unwrap();
    let ended = tercet(folder.path(), &["audit", "verify", "data"], "");
    assert_eq!(ended.code, 4, "{}{}", ended.out, ended.error);
    assert!(ended.out.starts_with("edit at record 3 in ") && ended.out.contains("line 3"), "{}", ended.out);
    let json = tercet(folder.path(), &["audit", "verify", "data", "--json"], "");
    assert_eq!((json.code, &json.json()["finding"]["kind"]), (4, &"edit".into()));
    assert_eq!(tercet(folder.path(), &["usage", "--journal", "data"], "").code, 4);
}

#[test]
fn a_head_kept_elsewhere_shows_a_lost_tail() {
    let folder = folder();
    journal(folder.path());
    let heads = tercet(folder.path(), &["audit", "head", "data", "--json"], "");
    fs::write(folder.path().join("heads.json"), &heads.out).unwrap();
    let verify = ["audit", "verify", "data", "--head", "heads.json"];
    assert_eq!(tercet(folder.path(), &verify, "").code, 0);
    let forged = heads.out.replacen("\"seq\":4", "\"seq\":3", 1);
    fs::write(folder.path().join("forged.json"), forged).unwrap();
    let unsigned = tercet(folder.path(), &["audit", "verify", "data", "--head", "forged.json"], "");
    assert_eq!(unsigned.code, 2, "{}", unsigned.error);
    assert!(unsigned.error.contains("not signed by the key it names"), "{}", unsigned.error);
    let path = segment(folder.path());
    let text = fs::read_to_string(&path).unwrap();
    let kept: String = text.lines().take(3).map(|line| format!("{line}\n")).collect();
    fs::write(&path, kept).unwrap();
    assert_eq!(tercet(folder.path(), &["audit", "verify", "data"], "").code, 0);
    let ended = tercet(folder.path(), &verify, "");
    assert_eq!(ended.code, 4);
    assert!(ended.out.starts_with("truncation at record 4"), "{}", ended.out);
}

#[test]
fn audit_export_gives_the_lines_as_they_were_written() {
    let folder = folder();
    journal(folder.path());
    let ended = tercet(folder.path(), &["audit", "export", "data", "--tenant", "initech"], "");
    let text = fs::read_to_string(segment(folder.path())).unwrap();
    assert_eq!(text.lines().last(), Some(ended.out.trim_end()));
    assert_eq!((ended.code, ended.error.as_str()), (0, "1 exchanges exported\n"));
    let csv = tercet(folder.path(), &["audit", "export", "data", "--csv", "--user", "=bob"], "").out;
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows.len(), 2, "{csv}");
    assert!(rows[0].starts_with("seq,timestamp,request_id,") && rows[1].contains(",acme,'=bob,"), "{csv}");
    assert!(
        rows[1].contains(",haiku,title,1000,30000,40,5,200,31245,estimate,500000,1000000,1000000,"),
        "{csv}"
    );
}

#[test]
fn a_request_in_the_journal_is_explained_by_its_id() {
    let folder = folder();
    let ids = journal(folder.path());
    let id = ids[0].as_str();
    let json = tercet(folder.path(), &["explain", id, "--journal", "data", "--json"], "").json();
    assert_eq!(json["decision"]["tier"], "haiku");
    assert_eq!(
        (&json["asked"], &json["policy_version"]),
        (&"claude-opus-5-5".into(), &"0123456789ab".into())
    );
    let text = tercet(folder.path(), &["explain", id, "--journal", "data"], "").out;
    assert!(text.contains("because    title\n") && text.contains("cost       1.5000 USD"), "{text}");
}

#[test]
fn a_body_is_explained_with_every_tier_it_could_go_to() {
    let folder = folder();
    let body =
        r#"{"model":"claude-opus-5-5","max_tokens":16,"messages":[{"role":"user","content":"Hello"}]}"#;
    fs::write(folder.path().join("body.json"), body).unwrap();
    let from_file = tercet(folder.path(), &["explain", "body.json", "--json"], "");
    let from_input = tercet(folder.path(), &["explain", "-", "--json"], body);
    assert_eq!(from_file.json(), from_input.json(), "{}", from_file.error);
    let explained = from_file.json();
    assert_eq!(explained["asked"], "claude-opus-5-5");
    assert_eq!(explained["candidates"].as_array().map(Vec::len), Some(3));
    for name in ["decision", "workload", "conversation", "policy_version"] {
        assert!(explained.get(name).is_some(), "{name}");
    }
    let text = tercet(folder.path(), &["explain", "-"], body).out;
    assert!(text.starts_with("asked      claude-opus-5-5\n") && text.contains("Suffices"), "{text}");
    assert_eq!(tercet(folder.path(), &["explain", "-"], "{").code, 1);
}

#[test]
fn the_simulated_upstream_says_where_it_is_and_ends_when_told() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tercet"));
    let mut child = command.arg("simulate").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("http://127.0.0.1:"), "{line}");
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_demo_tells_where_it_is_ends_by_itself_and_leaves_nothing() {
    let folder = folder();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tercet"));
    command.args(["demo", "--for", "300ms", "--json"]).env("TMPDIR", folder.path());
    let output = command.output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(told["key"].as_str().unwrap().starts_with("tct-"));
    assert!(told["base_url"].is_string() && told["admin_url"].is_string());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
