//! Which thread serves a connection.

use std::collections::BTreeMap;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn connections_are_spread_over_the_threads_and_each_stays_where_it_is() {
    let listener = Listener::bind(&config()).await.unwrap();
    let address = listener.address();
    let handler = |_request, _peer| async {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        Response::new(whole(format!("<{thread}>")))
    };
    let workers = Workers::start().unwrap();
    tokio::spawn(listener.serve(handler, refuse, door(), workers.clone(), std::future::pending()));
    let mut held = Vec::new();
    for _ in 0..6 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut threads = Vec::new();
        for _ in 0..2 {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            let answer = read_until(&mut stream, ">").await;
            threads.push(answer.split_once('<').unwrap().1.to_owned());
        }
        assert_eq!(threads[0], threads[1]);
        held.push((stream, threads.remove(0)));
    }
    let mut of_each = BTreeMap::new();
    for (_, thread) in &held {
        *of_each.entry(thread.as_str()).or_insert(0) += 1;
    }
    assert_eq!(of_each, BTreeMap::from([("serve-0>", 2), ("serve-1>", 2), ("serve-2>", 2)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_thread_with_the_fewest_connections_is_given_the_next() {
    let workers = Workers::start().unwrap();
    let mut places: Vec<_> = (0..3).map(|_| workers.place()).collect();
    let left = places.remove(1).runtime.id();
    assert_eq!(workers.place().runtime.id(), left);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_on_the_threads_is_dropped_with_them() {
    let workers = Workers::start().unwrap();
    let place = workers.place();
    let (held, dropped) = oneshot::channel::<()>();
    place.runtime.spawn(async move {
        let _held = held;
        std::future::pending::<()>().await;
    });
    drop(workers);
    assert!(dropped.await.is_err());
}

#[tokio::test]
async fn a_runtime_of_one_thread_serves_on_that() {
    let workers = Workers::start().unwrap();
    assert_eq!(workers.place().runtime.id(), Handle::current().id());
}
