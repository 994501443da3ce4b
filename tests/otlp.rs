//! What an OTLP receiver is told: spans under the client's own, the GenAI metrics, and nothing twice or of prompts.

#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::collections::VecDeque;
use std::convert::Infallible;
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
use support::http::{ask, send};
use support::read::until;
use support::{ACME, House, TENANTS};
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
    let told = came.lock().unwrap();
    let holds = |text: &str| {
        told.iter().any(|(_, body)| body.windows(text.len()).any(|part| part == text.as_bytes()))
    };
    assert!(holds("tercet.tenant") && !holds("sesame") && !holds("ann") && !holds("acme-1"));
    drop(told);
    house.stop().await;
}
