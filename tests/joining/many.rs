//! Many at once.

use http::Method;
use tercet::simulated::Options;

use super::support::http::send;
use super::support::read::idle;
use super::support::{ACME, House};
use super::{cached, of, streamed};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_are_one_call() {
    let options = Options { pace: std::time::Duration::from_millis(2), ..Options::default() };
    let house = House::start_with(&cached(), options).await;
    let body = streamed("write 200 words");
    let clients: Vec<_> = (0..1_000)
        .map(|_| {
            let (url, body) = (format!("{}/v1/messages", house.url), body.clone());
            tokio::spawn(async move {
                let headers = [("x-api-key", ACME), ("anthropic-version", "2023-06-01")];
                send(Method::POST, &url, &headers, body).await
            })
        })
        .collect();
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.unwrap());
    }
    assert_eq!(house.upstream.requests().len(), 1, "one call");
    assert!(answers[0].body.ends_with(b"data: {\"type\":\"message_stop\"}\n\n"));
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    let records = house.records_when(1_000).await;
    let billed = house.upstream.bill()[0].nanousd;
    let paid: u64 = records.iter().map(|record| record["cost_nanousd"].as_u64().unwrap()).sum();
    assert_eq!(paid, billed, "paid once");
    assert_eq!(of(&records, "miss").len(), 1);
    idle(&house).await;
    house.stop().await;
}
