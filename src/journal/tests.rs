//! The promises of the journal, kept on real files.

mod audit;
mod desk;
mod links;
mod retention;
mod snapshots;
mod starting;
mod writing;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::id::RequestId;
use crate::money::NanoUsd;
use crate::tier::Tier;

fn settings(path: &Path) -> config::Journal {
    config::Journal {
        path: path.to_path_buf(),
        fsync: Duration::from_millis(1),
        ..config::default_config().journal
    }
}

fn clock() -> Clock {
    Clock::manual("2026-11-20T12:00:00.123456Z".parse().unwrap())
}

fn open(path: &Path) -> Result<(Journal, Recovered), OpenFailure> {
    Journal::open(&settings(path), &clock(), |_, _| {})
}

fn exchange(request_id: &RequestId, nanousd: i64) -> Entry {
    let mut record =
        ExchangeRecord::begin(request_id.clone(), clock().now(), "acme".into(), "claude-opus-5-5".into());
    record.cost_nanousd = NanoUsd(nanousd);
    record.outcome = Outcome::Ok;
    record.into()
}

fn reservation(request_id: &RequestId, nanousd: i64) -> Entry {
    Entry::Reservation(ReservationRecord {
        timestamp: clock().now(),
        request_id: request_id.clone(),
        tenant: "acme".into(),
        user_id: Some("ann".into()),
        key_id: None,
        sent_model: "claude-haiku-5-5".into(),
        tier: Tier::Haiku,
        estimate_nanousd: NanoUsd(nanousd),
        estimate_tokens: 50,
        batch: None,
        sample: None,
    })
}

fn exchanged(request_id: &RequestId, cost: i64) -> ExchangeRecord {
    let Entry::Exchange(record) = exchange(request_id, cost) else { unreachable!() };
    Arc::unwrap_or_clone(record)
}

/// The costs of all exchanges in the journal, in order.
fn costs(path: &Path) -> Vec<i64> {
    let mut costs = Vec::new();
    let (journal, _) = Journal::open(&settings(path), &clock(), |_, entry| {
        if let Entry::Exchange(record) = entry {
            costs.push(record.cost_nanousd.0);
        }
    })
    .unwrap();
    close(&journal);
    costs
}

fn close(journal: &Journal) {
    block_on(journal.flush_and_close()).unwrap();
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_record_has_the_fixed_names_and_survives_reading() {
    let names = "kind timestamp request_id upstream_request_id tenant user_id key_id session_id message_id \
        thread_id requested_model sent_model answered_model tier decision input_tokens cache_read_tokens \
        cache_write_5m_tokens cache_write_1h_tokens output_tokens tokens_used usage_source cost_nanousd \
        baseline_nanousd price_version status error_type stop_reason outcome cache tool_calls stream latency_ms \
        ttft_ms overhead_us attempts";
    let request_id = RequestId::generate();
    let mut record = exchanged(&request_id, 7);
    record.decision =
        Some(serde_json::value::RawValue::from_string("{\n\"a\" : 1\r\n}".into()).unwrap().into());
    record.tool_calls.push(ToolCall { name: "bash".into(), is_error: Some(true) });
    let bytes = Entry::from(record).to_line().unwrap().into_bytes();
    assert!(!bytes.contains(&b'\n') && !bytes.contains(&b'\r'));
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    for name in names.split_whitespace() {
        assert!(value.get(name).is_some(), "{name}");
    }
    assert_eq!(value["kind"], "exchange");
    assert_eq!(value["timestamp"], "2026-11-20T12:00:00.123456Z");
    assert_eq!(value["baseline_nanousd"], serde_json::json!({"requested": 0, "all_opus": 0}));
    let mut later = value.clone();
    later["invented_later"] = true.into();
    let line = later.to_string();
    let read = Entry::from_line(b"exchange", line.as_bytes()).unwrap().unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(read.to_line().unwrap().as_str()).unwrap(), value);
    assert!(Entry::from_line(b"of_a_later_version", line.as_bytes()).unwrap().is_none());
}

#[test]
fn a_checkpoint_is_written_where_it_belongs_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::read_or_make(folder.path()).unwrap();
    for stream in Stream::ALL {
        let head = Head { stream, seq: 7, hash: chain::Link::genesis(stream, "here").hash };
        let line = Entry::Checkpoint(key.sign(&head, "here", clock().now())).to_line().unwrap();
        assert_eq!(line.stream(), stream);
        match Entry::from_line(entry::CHECKPOINT, line.as_str().as_bytes()) {
            Ok(Some(Entry::Checkpoint(read))) => assert_eq!((read.head(), read.is_genuine()), (head, true)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_exchange_is_found_by_either_id_in_the_ring_and_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path()).unwrap();
    let ring = Recent::default();
    let request_id = RequestId::generate();
    for cost in 0..300 {
        let id = if cost == 0 { request_id.clone() } else { RequestId::generate() };
        let mut record = exchanged(&id, cost);
        record.upstream_request_id = Some(format!("req_{cost}"));
        let record = Arc::new(record);
        ring.add(Arc::clone(&record));
        block_on(journal.append(&Entry::Exchange(record))).unwrap();
    }
    assert_eq!(ring.last(1000).len(), recent::RING_RECORDS);
    assert_eq!(ring.last(1).first().unwrap().cost_nanousd, NanoUsd(299));
    assert_eq!(ring.get("req_299").unwrap().cost_nanousd, NanoUsd(299));
    assert!(ring.get(request_id.as_str()).is_none());
    for name in [request_id.as_str(), "req_0"] {
        let found = find(journal.path(), name).unwrap().unwrap();
        assert_eq!((found.seq, found.record.cost_nanousd), (2, NanoUsd(0)));
        assert!(found.line.starts_with("{\"seq\":2,\"prev\":\""));
    }
    assert!(find(journal.path(), "req_").unwrap().is_none());
    close(&journal);
}

#[test]
fn records_are_written_as_they_are_declared() {
    let mut full = exchanged(&RequestId::generate(), -7);
    let named = || Some("a \"quoted\" \u{1} name, ünd".to_owned());
    full.upstream_request_id = named();
    (full.user_id, full.key_id, full.session_id, full.agent_id) = (named(), named(), named(), named());
    (full.message_id, full.thread_id, full.sent_model) = (named(), named(), named());
    (full.answered_model, full.price_version, full.error_type) = (named(), named(), named());
    (full.stop_reason, full.cache, full.endpoint, full.mode, full.client) =
        (named(), named(), named(), named(), named());
    (full.upstream, full.traceparent) = (named(), named());
    full.decision = Some(serde_json::value::RawValue::from_string("{\"a\":[1]}".into()).unwrap().into());
    full.set_usage(&crate::usage::Usage { input_tokens: 1, cache_read_tokens: 2, ..Default::default() });
    (full.cache_write_5m_tokens, full.cache_write_1h_tokens, full.output_tokens) = (3, 4, u64::MAX);
    (full.status, full.latency_ms, full.overhead_us, full.attempts) = (529, 5, 6, 2);
    (full.stream, full.ttft_ms) = (true, Some(0));
    full.tool_calls = vec![
        ToolCall { name: "ba\\sh".into(), is_error: Some(false) },
        ToolCall { name: "x".into(), is_error: Some(true) },
        ToolCall { name: String::new(), is_error: None },
    ];
    (full.tags, full.levels) = (vec!["a".into(), "b".into()], vec!["org".into()]);
    full.objects = [ObjectType::Batch, ObjectType::File, ObjectType::Container, ObjectType::Thread]
        .map(|object_type| ObjectName { object_type, object_id: "i".into() })
        .into();
    full.cache_saved_nanousd = NanoUsd(11);
    let (workload, head) = (Some("00ff".to_owned()), Some("ff00".to_owned()));
    let (marks, idle_s) = (Marks::Hour, Some(301));
    let prompt = PromptRecord { workload, head, head_tokens: 12, marks, before_tokens: 13, idle_s };
    full.prompt_cache = Some(Box::new(prompt));
    let find = |found: &str| GuardFind {
        found: found.into(),
        side: "prompt".into(),
        action: "flag".into(),
        count: 2,
    };
    full.guards = vec![find("email"), find("a \"b\"")];
    let outcomes = [
        Outcome::Ok,
        Outcome::ClientError,
        Outcome::RateLimited,
        Outcome::QuotaRejected,
        Outcome::UpstreamError,
        Outcome::ProxyError,
        Outcome::ClientAborted,
        Outcome::Lost,
    ];
    for outcome in outcomes {
        full.outcome = outcome;
        assert_eq!(full.to_json(), serde_json::to_string(&full).unwrap());
    }
    for marks in [Marks::None, Marks::FiveMinutes] {
        full.prompt_cache = Some(Box::new(PromptRecord { marks, ..PromptRecord::default() }));
        assert_eq!(full.to_json(), serde_json::to_string(&full).unwrap());
    }
    let empty = exchanged(&RequestId::generate(), 0);
    assert_eq!(empty.to_json(), serde_json::to_string(&empty).unwrap());
    let Entry::Reservation(held) = reservation(&RequestId::generate(), 9) else { unreachable!() };
    assert_eq!(held.to_json(), serde_json::to_string(&held).unwrap());
}
