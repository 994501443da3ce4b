//! What comes over a connection in odd pieces, at odd times, or when nobody asked.

use super::*;

/// Accepts one connection after the other and plays each by a function.
async fn played<F>(play: impl Fn(tokio::net::TcpStream, usize) -> F + Send + 'static) -> Upstream
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(play(stream, number));
        }
    });
    Upstream::new(&config(base_url)).unwrap()
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n4;x=y\r\n two\r\n0\r\nz: t\r\n\r\n";

#[tokio::test]
async fn an_answer_may_come_byte_by_byte_and_its_connection_is_kept() {
    let upstream = played(|mut stream, _| async move {
        while read_request(&mut stream).await.is_some() {
            for byte in CHUNKED.as_bytes() {
                stream.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    for _ in 0..2 {
        let answer = upstream.send(post("1")).await.unwrap();
        assert_eq!((answer.attempts, &answer.response.headers()["x"]), (1, &HeaderValue::from_static("y")));
        assert_eq!(text(answer).await.unwrap(), "one two");
    }
}

/// A second answer to one request, sent with the first or later, must be nobody's.
#[tokio::test]
async fn what_nobody_asked_for_is_never_the_next_answer() {
    const OTHER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    for first in [format!("{OK}{OTHER}"), format!("{CHUNKED}{OTHER}"), OK.to_owned()] {
        let later = first == OK;
        let (poison, poisoned) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
        let (ring, rung) = (Arc::clone(&poison), Arc::clone(&poisoned));
        let upstream = played(move |mut stream, number| {
            let (first, ring, rung) = (first.clone(), Arc::clone(&ring), Arc::clone(&rung));
            async move {
                read_request(&mut stream).await.unwrap();
                let answer = if number == 0 { &first } else { OK };
                stream.write_all(answer.as_bytes()).await.unwrap();
                if later && number == 0 {
                    ring.notified().await;
                    stream.write_all(OTHER.as_bytes()).await.unwrap();
                    rung.notify_one();
                }
                drop(read_request(&mut stream).await);
            }
        })
        .await;
        drop(text(upstream.send(post("1")).await.unwrap()).await.unwrap());
        if later {
            poison.notify_one();
            poisoned.notified().await;
        }
        for _ in 0..3 {
            assert_eq!(text(upstream.send(post("2")).await.unwrap()).await.unwrap(), "ok");
        }
    }
}

#[tokio::test]
async fn an_early_answer_ends_the_upload_and_its_connection() {
    let upstream = played(|mut stream, _| async move {
        let mut some = [0; 1_024];
        stream.read_exact(&mut some).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
        // Whatever else comes is read, so that nothing is reset.
        while stream.read(&mut some).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let (sender, frames) = tokio::sync::mpsc::channel::<Bytes>(1);
    sender.send(Bytes::from(vec![b'x'; 2_000])).await.unwrap();
    let body = RequestBody::stream(Coming(frames));
    let answer = upstream.send(Request::post("/").body(body).unwrap()).await.unwrap();
    assert_eq!(text(answer).await.unwrap(), "ok");
    assert!(sender.is_closed(), "nobody waits for the rest of the body");
    assert_eq!(text(upstream.send(post(LONG)).await.unwrap()).await.unwrap(), "ok");
}

const LONG: &str = include_str!("lines.rs");

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_said_is_its_makers_fault() {
    for (said, given) in [(3, "four"), (5, "four")] {
        let upstream = played(|mut stream, _| async move {
            drop(read_request(&mut stream).await);
        })
        .await;
        let body = RequestBody::stream(Said(said, Some(Bytes::from_static(given.as_bytes()))));
        let failure = upstream.send(Request::post("/").body(body).unwrap()).await.unwrap_err();
        assert_eq!((failure.phase, failure.kind), (Phase::Write, FailureKind::Request), "{failure}");
    }
}

#[tokio::test]
async fn heads_that_could_be_read_two_ways_are_refused() {
    for head in [
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n content-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
    ] {
        let upstream = played(move |mut stream, _| async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            drop(read_request(&mut stream).await);
        })
        .await;
        let failure = upstream.send(post("1")).await.unwrap_err();
        assert_eq!((failure.phase, failure.kind), (Phase::Wait, FailureKind::Protocol), "{head:?}");
    }
}

#[tokio::test]
async fn an_answer_without_a_length_ends_with_its_connection() {
    let upstream = played(|mut stream, _| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nall there is").await.unwrap();
    })
    .await;
    let answer = upstream.send(post("1")).await.unwrap();
    assert_eq!(answer.response.body().size_hint().exact(), None);
    assert_eq!(text(answer).await.unwrap(), "all there is");
}

#[tokio::test]
async fn answers_without_a_body_end_with_their_head() {
    for (method, head) in [
        (http::Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
        (http::Method::POST, "HTTP/1.1 204 No Content\r\n\r\n"),
        (http::Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"),
    ] {
        let upstream = played(move |mut stream, number| async move {
            assert_eq!(number, 0, "the connection is kept");
            while read_request(&mut stream).await.is_some() {
                stream.write_all(head.as_bytes()).await.unwrap();
            }
        })
        .await;
        for _ in 0..2 {
            let request = Request::builder().method(method.clone()).uri("/").body(RequestBody::empty());
            assert_eq!(text(upstream.send(request.unwrap()).await.unwrap()).await.unwrap(), "");
        }
    }
}

struct Coming(tokio::sync::mpsc::Receiver<Bytes>);

impl Body for Coming {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(http_body::Frame::data(piece))))
    }
}

/// A body that says how long it is, and has one piece.
struct Said(u64, Option<Bytes>);

impl Body for Said {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        std::task::Poll::Ready(self.1.take().map(|piece| Ok(http_body::Frame::data(piece))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0)
    }
}

#[tokio::test]
async fn a_connection_is_used_again_on_the_thread_whose_reactor_watches_it() {
    let scripted = scripted(&[&[(OK, Then::Keep), (OK, Then::Keep), (OK, Then::Keep)]]).await;
    let upstream = Arc::new(Upstream::new(&config(scripted.base_url)).unwrap());
    let ask = move || {
        let upstream = Arc::clone(&upstream);
        async move { text(upstream.send(post("a")).await.unwrap()).await.unwrap() }
    };
    let elsewhere = ask.clone();
    // On two threads in turn, so that a connection of the other rests each time.
    assert_eq!(ask().await, "ok");
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { [elsewhere().await, elsewhere().await] })
    });
    assert_eq!(tokio::task::spawn_blocking(|| other.join().unwrap()).await.unwrap(), ["ok", "ok"]);
    assert_eq!(ask().await, "ok");
    assert_eq!(scripted.accepted.load(Ordering::SeqCst), 2);
}
