//! Kills under load, one after the other, over one journal: three rounds here, `make soak` takes a hundred.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use support::read::until;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;

const CLIENTS: usize = 8;

/// What was seen in all rounds.
#[derive(Default)]
struct Seen {
    /// Ids of answers that came whole.
    acknowledged: HashSet<String>,
    /// Calls that were billed and not even written down as held: what was on its way to a disk that synced.
    unheld: usize,
    starts: Vec<Duration>,
}

fn rounds() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "the number of rounds is the caller's choice")]
    let asked = std::env::var("TERCET_ROUNDS");
    asked.ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// Asks again and again until the gateway is gone; returns the ids of the answers that came whole.
async fn ask_until_gone(url: String, seed: usize) -> Vec<String> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut whole = Vec::new();
    for index in seed.. {
        let text = format!("write {} words", 1 + index % 40);
        let body = if index % 3 == 0 { ask("claude-haiku-5-5", &text) } else { streamed(&text) };
        let request = Request::post(format!("{url}/v1/messages"))
            .header("x-api-key", ACME)
            .header("anthropic-version", "2023-06-01")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let Ok(answer) = client.request(request).await else { break };
        assert_eq!(answer.status(), 200);
        let id = answer.headers()["x-tercet-request-id"].to_str().unwrap().to_owned();
        // Over HTTP/1.1 a body that was cut off is an error, so this one is whole.
        let Ok(_) = answer.into_body().collect().await else { break };
        whole.push(id);
    }
    whole
}

async fn told(process: &Process, path: &str) -> String {
    String::from_utf8(get(&process.admin_url, "", path).await.body.to_vec()).unwrap()
}

/// Returns what the upstream has billed, by its ids.
fn billed(upstream: &Upstream) -> HashMap<String, i64> {
    let price = |nanousd: u64| i64::try_from(nanousd).unwrap();
    upstream.bill().into_iter().map(|call| (call.request_id, price(call.nanousd))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_of_kills_under_load_lose_and_invent_nothing() {
    let options = Options { pace: Duration::from_micros(500), ..Options::default() };
    let (upstream, folder) = (Upstream::start(options).await.unwrap(), TempDir::new().unwrap());
    let file = file(&upstream, folder.path(), &TENANT.replace("100.00 USD", "100000.00 USD"));
    let mut seen = Seen::default();
    for round in 0..rounds() {
        let begun = Instant::now();
        let process = Process::start(&file).await;
        seen.starts.push(begun.elapsed());
        stands_as_journaled(&process, folder.path()).await;
        let mut asking = JoinSet::new();
        for place in 0..CLIENTS {
            asking.spawn(ask_until_gone(process.url.clone(), usize::try_from(round).unwrap() * 7 + place));
        }
        // Anywhere in the life of some request.
        tokio::time::sleep(Duration::from_millis(200 + round * 37 % 300)).await;
        process.kill();
        seen.acknowledged.extend(asking.join_all().await.into_iter().flatten());
        in_order(&mut seen, folder.path(), &upstream).await;
        let (code, out, error) = run(&["audit", "verify", folder.path().join("data").to_str().unwrap()]);
        // What the kill tore is named; the next start cuts it off.
        assert!(code == 0 || out.contains("torn"), "{out}{error}");
    }
    let process = Process::start(&file).await;
    stands_as_journaled(&process, folder.path()).await;
    drop(process);
    let (code, out, error) = run(&["audit", "verify", folder.path().join("data").to_str().unwrap()]);
    assert_eq!(code, 0, "{out}{error}");
    let (records, bill) = (records(folder.path()), billed(&upstream));
    let lost = records.iter().filter(|record| record["outcome"] == "lost").count();
    seen.starts.sort_unstable();
    println!(
        "{} rounds: {} answers seen whole, {} journaled, {} billed upstream of which {} were not held yet, {lost} lost and \
         charged; starts {:?} to {:?}",
        rounds(),
        seen.acknowledged.len(),
        records.len() - lost,
        bill.len(),
        seen.unheld,
        seen.starts[0],
        seen.starts[seen.starts.len() - 1],
    );
    assert!(!seen.acknowledged.is_empty() && lost > 0, "the kills hit something");
}

/// Acknowledged is journaled, journaled is billed, and what is billed was journaled at least as held, but for those in
/// flight at a kill.
async fn in_order(seen: &mut Seen, folder: &Path, upstream: &Upstream) {
    let records = records(folder);
    let settled: Vec<&Value> = records.iter().filter(|record| record["outcome"] != "lost").collect();
    let ids: HashSet<&str> = settled.iter().map(|record| record["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), settled.len(), "no exchange is recorded twice");
    let missing: Vec<_> = seen.acknowledged.iter().filter(|id| !ids.contains(id.as_str())).collect();
    assert!(missing.is_empty(), "answered and not recorded: {missing:?}");
    let upstream_id = |record: &Value| record["upstream_request_id"].as_str().unwrap().to_owned();
    // It writes down the end of an answer a moment after it is sent.
    let is_billed = || {
        let bill = billed(upstream);
        settled.iter().all(|record| bill.contains_key(&upstream_id(record)))
    };
    until("all that is journaled is billed", is_billed).await;
    let bill = billed(upstream);
    for record in &settled {
        let billed = bill.get(&upstream_id(record));
        assert_eq!(billed.copied(), record["cost_nanousd"].as_i64(), "{record}");
    }
    assert!(settled.len() <= bill.len());
    let unheld = bill.len().saturating_sub(reserved(folder).len());
    assert!(unheld <= seen.unheld + CLIENTS, "{unheld} of {} calls were never held", bill.len());
    seen.unheld = seen.unheld.max(unheld);
}

/// Returns the ids of all exchanges that were written down before anything was sent for them.
fn reserved(folder: &Path) -> HashSet<String> {
    let files = std::fs::read_dir(folder.join("data/exchanges")).unwrap().map(|entry| entry.unwrap().path());
    let segments = files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    let text: String = segments.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let held = text.lines().filter(|line| line.contains("\"kind\":\"reservation\""));
    let id = |line: &str| line.split_once("\"request_id\":\"")?.1.split('"').next().map(ToOwned::to_owned);
    held.filter_map(id).collect()
}

/// Nothing is held, and counters, reports and journal name one sum.
async fn stands_as_journaled(process: &Process, folder: &Path) {
    let (records, metrics) = (records(folder), told(process, "/metrics").await);
    let all = sum(&records, "cost_nanousd");
    assert_eq!(metric(&metrics, "tercet_reserved_usd", ""), 0, "nothing is held for the dead");
    assert_eq!(metric(&metrics, "tercet_tenant_spend_usd", "window=\"day\""), all);
    assert_eq!(spent(&serde_json::from_str(&told(process, "/admin/v1/usage").await).unwrap()), all);
}
