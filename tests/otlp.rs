//! What an OTLP receiver is told: spans under the client's own, the GenAI metrics, and nothing twice or of prompts.

#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::Value as Json;
use support::http::{ask, message, send};
use support::process::Process;
use support::read::until;
use support::{ACME, House, TENANTS, configuration, exchanges_in};
use tempfile::TempDir;
use tercet::simulated::{Options, Upstream};
use tokio::net::TcpListener;

type Came = Arc<Mutex<Vec<(String, Bytes)>>>;

/// Starts a receiver that answers from a script, then 200, and keeps what it took.
async fn receiver(script: &[u16]) -> (String, Came) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let came = Came::default();
    let script: Arc<Mutex<VecDeque<u16>>> = Arc::new(Mutex::new(script.iter().copied().collect()));
    let taken = Arc::clone(&came);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (taken, script) = (Arc::clone(&taken), Arc::clone(&script));
            let answer = service_fn(move |request: Request<Incoming>| {
                let (taken, script) = (Arc::clone(&taken), Arc::clone(&script));
                async move {
                    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let status = script.lock().unwrap().pop_front().unwrap_or(200);
                    if status == 200 {
                        taken.lock().unwrap().push((head.uri.path().to_owned(), body));
                    }
                    let mut response = Response::new(Empty::<Bytes>::new());
                    *response.status_mut() = StatusCode::from_u16(status).unwrap();
                    Ok::<_, Infallible>(response)
                }
            });
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(async move { drop(http.serve_connection(TokioIo::new(stream), answer).await) });
        }
    });
    (url, came)
}

fn spans(came: &Came) -> Vec<Span> {
    let came = came.lock().unwrap();
    let requests = came.iter().filter(|(path, _)| path == "/v1/traces");
    let decoded = requests.map(|(_, body)| ExportTraceServiceRequest::decode(body.clone()).unwrap());
    let scopes = decoded.flat_map(|request| request.resource_spans).flat_map(|one| one.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

fn attribute(attributes: &[KeyValue], name: &str) -> Option<Value> {
    attributes.iter().find(|one| one.key == name)?.value.clone()?.value
}

/// How often, and the sum, of each metric in the last request; tokens of input alone.
fn measured(came: &Came) -> Vec<(String, u64, f64)> {
    let came = came.lock().unwrap();
    let Some((_, body)) = came.iter().rfind(|(path, _)| path == "/v1/metrics") else { return Vec::new() };
    let request = ExportMetricsServiceRequest::decode(body.clone()).unwrap();
    let metrics = request.resource_metrics[0].scope_metrics[0].metrics.clone();
    let one = |metric: opentelemetry_proto::tonic::metrics::v1::Metric| {
        let Some(Data::Histogram(histogram)) = metric.data else { panic!("{metric:?}") };
        let kind = |attributes: &[KeyValue]| attribute(attributes, "gen_ai.token.type");
        let points = histogram.data_points.iter();
        let points: Vec<_> = points
            .filter(|point| !matches!(kind(&point.attributes), Some(Value::StringValue(kind)) if kind == "output"))
            .collect();
        assert!(points.iter().all(|point| point.bucket_counts.iter().sum::<u64>() == point.count));
        let count = points.iter().map(|point| point.count).sum();
        (metric.name, count, points.iter().filter_map(|point| point.sum).sum())
    };
    metrics.into_iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_first_gets_all_of_it_once() {
    let (url, came) = receiver(&[503]).await;
    let house = House::start(&format!("{TENANTS}\n[telemetry]\notlp = \"{url}\"\n")).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-";
    for (traceparent, model) in [
        (format!("{parent}01"), "claude-opus-5-5"),
        (format!("{parent}00"), "claude-opus-5-5"),
        ("nonsense".to_owned(), "claude-opus-5-5"),
        (String::new(), "no-such-model"),
    ] {
        let headers = [
            ("x-api-key", ACME),
            ("anthropic-version", "2023-06-01"),
            ("content-type", "application/json"),
            ("traceparent", traceparent.as_str()),
        ];
        let given = if traceparent.is_empty() { &headers[..3] } else { &headers[..] };
        send(Method::POST, &format!("{}/v1/messages", house.url), given, ask(model, "say sesame")).await;
    }
    let records = house.records_when(4).await;
    let name = "gen_ai.client.operation.duration";
    let all = || measured(&came).iter().any(|(metric, count, _)| metric == name && *count == 4);
    until("everything has come", all).await;

    let spans = spans(&came);
    assert_eq!(spans.len(), 3, "one client wants none");
    let [first, second, third] = spans.as_slice() else { panic!("{spans:?}") };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&first.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&first.parent_span_id), "b7ad6b7169203331");
    assert!(
        second.parent_span_id.is_empty() && second.trace_id.len() == 16 && second.trace_id != first.trace_id
    );
    assert_eq!((first.name.as_str(), first.span_id.len()), ("chat claude-opus-5-5", 8));
    assert!(first.status.is_none() && third.status.as_ref().is_some_and(|status| status.code == 2));
    let of = |name: &str| attribute(&first.attributes, name);
    let record = &records[0];
    let tokens = ["input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"];
    let input: i64 = tokens.iter().map(|name| record[*name].as_i64().unwrap()).sum();
    assert_eq!(of("gen_ai.usage.input_tokens"), Some(Value::IntValue(input)));
    assert_eq!(of("tercet.cost_nanousd"), record["cost_nanousd"].as_i64().map(Value::IntValue));
    let model = record["answered_model"].as_str().map(|model| Value::StringValue(model.to_owned()));
    assert_eq!(of("gen_ai.response.model"), model);

    let sums = measured(&came);
    let input: i64 = records.iter().flat_map(|one| tokens.map(|name| one[name].as_i64().unwrap())).sum();
    let counted = sums.iter().find(|(name, ..)| name == "gen_ai.client.token.usage").unwrap();
    assert_eq!((counted.1, counted.2), (4, input as f64));
    let told = came.lock().unwrap().clone();
    let holds = |text: &str| {
        told.iter().any(|(_, body)| body.windows(text.len()).any(|part| part == text.as_bytes()))
    };
    assert!(holds("tercet.tenant") && !holds("sesame") && !holds("ann") && !holds("acme-1"));
    house.stop().await;
}

/// A receiver that decodes with OpenTelemetry's own Python package; killed when dropped.
struct Official {
    child: Child,
    url: String,
    told: PathBuf,
}

impl Official {
    fn start(folder: &Path) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".cache/otlp/python/bin/python");
        assert!(python.exists(), "run scripts/otlp-receiver (or make test) first");
        let told = folder.join("told.jsonl");
        let mut command = Command::new(python);
        command.arg(root.join("tests/otlp/receiver.py")).stdout(File::create(&told).unwrap());
        let child = command.spawn().unwrap();
        Self { child, url: String::new(), told }
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.told).unwrap();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| line.trim_end().to_owned()).collect()
    }

    /// The requests so far, in order, each wholly understood.
    fn requests(&self, path: &str) -> Vec<Json> {
        let lines = self.lines();
        let requests = lines.iter().skip(1).map(|line| serde_json::from_str::<Json>(line).unwrap());
        let requests = requests.inspect(|one| assert_eq!(one["unknown"], 0, "{one}"));
        requests.filter(|one| one["path"] == path).map(|one| one["request"].clone()).collect()
    }

    /// What the last request about metrics says of each, by name: its sum, or its value.
    fn metrics(&self) -> BTreeMap<String, f64> {
        let Some(request) = self.requests("/v1/metrics").pop() else { return BTreeMap::new() };
        let metrics = request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap().clone();
        let total = |metric: &Json| -> f64 {
            let points = ["sum", "histogram"].map(|kind| metric[kind]["dataPoints"].as_array());
            let points = points.into_iter().flatten().flatten();
            let number = |value: &Json| value.as_f64().or_else(|| value.as_str()?.parse().ok());
            points.map(|point| number(&point["asInt"]).or_else(|| number(&point["sum"])).unwrap_or(0.0)).sum()
        };
        metrics.iter().map(|metric| (metric["name"].as_str().unwrap().to_owned(), total(metric))).collect()
    }
}

impl Drop for Official {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opentelemetry_s_own_decoder_understands_all_of_it_in_either_names() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    for (chosen, names) in [("", DEFAULT_NAMES), ("gen_ai_latest_experimental", LATEST_NAMES)] {
        let folder = TempDir::new().unwrap();
        let mut official = Official::start(folder.path());
        until("the receiver is there", || !official.lines().is_empty()).await;
        official.url = format!("http://127.0.0.1:{}", official.lines()[0]);
        let file = folder.path().join("tercet.toml");
        let text = format!("{TENANTS}\n[telemetry]\notlp = \"{}\"\n", official.url);
        std::fs::write(&file, configuration(upstream.url(), folder.path(), &text)).unwrap();
        let gateway = Process::start_with(&file, &[("OTEL_SEMCONV_STABILITY_OPT_IN", chosen)]).await;
        for text in ["say sesame", "say it again"] {
            assert_eq!(message(&gateway.url, ACME, ask("claude-opus-5-5", text)).await.status, 200);
        }
        let records = exchanges_in(&folder.path().join("data"));
        let sum = |name: &str| records.iter().map(|record| record[name].as_f64().unwrap()).sum::<f64>();
        let (output, input) = (sum("output_tokens"), sum("input_tokens"));
        let name = if chosen.is_empty() {
            "gen_ai.client.token.usage"
        } else {
            "gen_ai.client.inference.usage.output_tokens"
        };
        let wanted = if chosen.is_empty() { input + output } else { output };
        until("both have come", || official.metrics().get(name) == Some(&wanted)).await;
        let metrics = official.metrics();
        assert_eq!(metrics.keys().map(String::as_str).collect::<Vec<_>>(), names, "{chosen}");
        if !chosen.is_empty() {
            assert_eq!(metrics["gen_ai.client.inference.usage.input_tokens"], input);
            assert_eq!(metrics["gen_ai.client.inference.operation.output_tokens"], output);
        }
        let traces = official.requests("/v1/traces");
        let spans: Vec<&Json> = traces
            .iter()
            .flat_map(|request| request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap())
            .collect();
        assert_eq!(spans.len(), 2, "{traces:?}");
        for (span, record) in spans.iter().zip(&records) {
            let attribute = |name: &str| {
                let all = span["attributes"].as_array().unwrap().iter();
                all.clone().find(|one| one["key"] == name).map(|one| one["value"].clone())
            };
            assert_eq!(span["name"], "chat claude-opus-5-5");
            let cost = record["cost_nanousd"].to_string();
            assert_eq!(attribute("tercet.cost_nanousd").unwrap()["intValue"], cost);
            assert_eq!(attribute("gen_ai.provider.name").unwrap()["stringValue"], "anthropic");
            assert_eq!(attribute("gen_ai.system").is_some(), chosen.is_empty());
        }
        assert!(!official.lines().iter().any(|line| line.contains("sesame")));
        gateway.kill();
    }
}

const DEFAULT_NAMES: &[&str] =
    &["gen_ai.client.operation.duration", "gen_ai.client.token.usage", "gen_ai.server.time_to_first_token"];
const LATEST_NAMES: &[&str] = &[
    "gen_ai.client.inference.operation.input_tokens",
    "gen_ai.client.inference.operation.output_tokens",
    "gen_ai.client.inference.usage.cache_read.input_tokens",
    "gen_ai.client.inference.usage.cache_write.input_tokens",
    "gen_ai.client.inference.usage.input_tokens",
    "gen_ai.client.inference.usage.output_tokens",
    "gen_ai.client.operation.duration",
    "gen_ai.client.operation.time_to_first_chunk",
];
