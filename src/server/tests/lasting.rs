//! Answers that go on without the parser that read their request.

use super::*;

async fn ask(running: &mut Running, stream: &mut TcpStream, more: &str) -> mpsc::Sender<Bytes> {
    let request = format!("GET /lasting HTTP/1.1\r\nhost: a\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    running.streams.recv().await.unwrap()
}

#[tokio::test]
async fn a_connection_carries_one_stream_after_the_other_and_what_was_pipelined_behind() {
    let mut running = running(&config()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for round in 0..3 {
        let feed = ask(&mut running, &mut stream, "").await;
        let head = read_until(&mut stream, "\r\n\r\n").await;
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        feed.send(Bytes::from_static(b"one")).await.unwrap();
        assert_eq!(read_until(&mut stream, "one\r\n").await, "3\r\none\r\n");
        // In the middle of the answer, and partly: it is answered behind it.
        stream.write_all(b"GET /next HTTP/1.1\r\nho").await.unwrap();
        feed.send(Bytes::from_static(b"two")).await.unwrap();
        assert_eq!(read_until(&mut stream, "two\r\n").await, "3\r\ntwo\r\n");
        stream.write_all(b"st: a\r\n\r\n").await.unwrap();
        drop(feed);
        assert_eq!(read_until(&mut stream, "0\r\n\r\n").await, "0\r\n\r\n", "round {round}");
        let next = read_until(&mut stream, "tls=false ").await;
        assert!(next.starts_with("HTTP/1.1 200 OK") && next.contains("HTTP/1.1 tls=false"), "{next}");
    }
}

#[tokio::test]
async fn both_requests_in_one_write_are_answered_in_order() {
    let mut running = running(&config()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let feed = ask(&mut running, &mut stream, "\r\nGET /next HTTP/1.1\r\nhost: a\r\n").await;
    feed.send(Bytes::from_static(b"first")).await.unwrap();
    drop(feed);
    let answers = read_until(&mut stream, "tls=false ").await;
    let (first, second) = answers.split_once("0\r\n\r\n").unwrap();
    assert!(first.ends_with("5\r\nfirst\r\n") && second.starts_with("HTTP/1.1 200 OK"), "{answers}");
}

#[tokio::test]
async fn a_client_that_wants_its_connection_closed_gets_that_behind_the_answer() {
    let mut running = running(&config()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let feed = ask(&mut running, &mut stream, "connection: close\r\n").await;
    feed.send(Bytes::from_static(b"all")).await.unwrap();
    drop(feed);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("3\r\nall\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks() {
    let mut running = running(&config()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET /lasting HTTP/1.0\r\n\r\n").await.unwrap();
    let feed = running.streams.recv().await.unwrap();
    feed.send(Bytes::from_static(b"all")).await.unwrap();
    drop(feed);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\nall"), "{answer}");
}

#[tokio::test]
async fn a_drain_lets_it_finish_and_then_ends_its_connection() {
    let mut running = running(&config()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let feed = ask(&mut running, &mut stream, "").await;
    feed.send(Bytes::from_static(b"one")).await.unwrap();
    read_until(&mut stream, "one\r\n").await;
    running.stop.send(()).unwrap();
    feed.send(Bytes::from_static(b"two")).await.unwrap();
    drop(feed);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "3\r\ntwo\r\n0\r\n\r\n");
    assert_eq!(running.serving.await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_client_that_leaves_lets_go_of_the_answer() {
    let mut running = running(&config()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let feed = ask(&mut running, &mut stream, "").await;
    read_until(&mut stream, "\r\n\r\n").await;
    drop(stream);
    let fed = async { while feed.send(Bytes::from(vec![b'x'; 64 * 1024])).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), fed).await.unwrap();
}
