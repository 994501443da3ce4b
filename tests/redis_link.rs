//! The connection to a shared Redis: whatever breaks it is noticed, nothing is sent twice, and it mends itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::read::{until, until_told};
use support::redis::{Fault, Line, Redis};
use tercet::config::RedisServer;
use tercet::store::{ANSWER_WITHIN, Link, LinkFailure, LinkUse};
use tokio::sync::watch;
use tokio::time::timeout;

struct Kept {
    link: Arc<Link>,
    _ended: watch::Sender<bool>,
}

/// A link that looks after itself, up.
async fn kept(url: &str) -> Kept {
    let link = Link::new(RedisServer::parse(url).unwrap(), LinkUse::Counters);
    let (ended, seen) = watch::channel(false);
    tokio::spawn(Arc::clone(&link).keep_up(seen));
    assert!(link.up_within(Duration::from_secs(5)).await);
    Kept { link, _ended: ended }
}

async fn increase(link: &Link) -> Result<i64, LinkFailure> {
    let call = |mut connection| async move { redis::cmd("INCR").arg("n").query_async(&mut connection).await };
    link.ask(ANSWER_WITHIN, call).await
}

fn failures(link: &Link, reason: &str) -> u64 {
    link.reading().failures.iter().find(|(name, _)| *name == reason).unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_breaks_a_link_it_says_so_and_is_mended() {
    let redis = Redis::start(&[]).await;
    let line = Line::to(redis.port).await;
    let kept = kept(&line.url()).await;
    let faults = [
        (Fault::Partition, "timed_out"),
        (Fault::AnswersLost, "timed_out"),
        (Fault::Reset, "broken"),
        (Fault::Slow(Duration::from_secs(1)), "timed_out"),
        (Fault::Says("-LOADING Redis is loading the dataset in memory\r\n"), "loading"),
        (Fault::Says("-READONLY You can't write against a read only replica.\r\n"), "read_only"),
        (Fault::Says("-OOM command not allowed when used memory > 'maxmemory'.\r\n"), "out_of_memory"),
        (Fault::Says("-NOAUTH Authentication required.\r\n"), "refused"),
        (Fault::Says("HTTP/1.1 400 Bad Request\r\n\r\n"), "broken"),
    ];
    for (fault, reason) in faults {
        let before = failures(&kept.link, reason);
        line.set(fault.clone());
        let asked = timeout(Duration::from_secs(1), increase(&kept.link)).await;
        assert!(asked.unwrap().is_err(), "{fault:?} was answered");
        until("the link is down", || !kept.link.is_up()).await;
        assert!(failures(&kept.link, reason) > before, "{fault:?}: {:?}", kept.link.reading());
        line.set(Fault::None);
        assert!(kept.link.up_within(Duration::from_secs(5)).await, "{fault:?} is not mended");
        assert!(increase(&kept.link).await.is_ok(), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_or_frozen_is_found_again() {
    let redis = Redis::start(&[]).await;
    let kept = kept(&redis.url()).await;
    redis.freeze(true);
    until("a frozen server is noticed", || !kept.link.is_up()).await;
    redis.freeze(false);
    assert!(kept.link.up_within(Duration::from_secs(5)).await);
    let before = kept.link.generation();
    redis.kill();
    until("a killed server is noticed", || !kept.link.is_up()).await;
    assert_eq!(increase(&kept.link).await, Err(LinkFailure::Down));
    redis.restart().await;
    assert!(kept.link.up_within(Duration::from_secs(5)).await);
    assert!(kept.link.generation() > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_flight_when_the_line_breaks_is_not_sent_again() {
    let redis = Redis::start(&[]).await;
    let line = Line::to(redis.port).await;
    let kept = kept(&line.url()).await;
    for round in 1..=5_i64 {
        line.set(Fault::AnswersLost);
        assert!(increase(&kept.link).await.is_err());
        line.set(Fault::Reset);
        until("the link is down", || !kept.link.is_up()).await;
        line.set(Fault::None);
        assert!(kept.link.up_within(Duration::from_secs(5)).await);
        let counted: i64 = redis.command(&["GET", "n"]).await;
        assert_eq!(counted, round, "it was carried out once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn giving_up_sooner_than_the_link_does_leaves_it_up() {
    let redis = Redis::start(&[]).await;
    let line = Line::to(redis.port).await;
    let kept = kept(&line.url()).await;
    line.set(Fault::Slow(Duration::from_millis(100)));
    let call =
        |mut connection| async move { redis::cmd("PING").query_async::<String>(&mut connection).await };
    let asked = kept.link.ask(Duration::from_millis(20), call).await;
    assert_eq!((asked, kept.link.is_up()), (Err(LinkFailure::TimedOut), true));
    assert!(increase(&kept.link).await.is_ok(), "200 ms are slow and not too slow");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_say_where_the_master_is() {
    let master = Redis::start(&[]).await;
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]).await;
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("sentinel.conf");
    let watched = format!(
        "sentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 300\n\
         sentinel failover-timeout main 2000\n",
        master.port
    );
    std::fs::write(&file, watched).unwrap();
    let sentinel = Redis::start_with(Some(&file), &["--sentinel"]).await;
    until_told(|| async { sentinel.command(&["INFO", "sentinel"]).await }, "slaves=1,").await;
    let kept = kept(&format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port)).await;
    assert!(increase(&kept.link).await.is_ok());
    let held: i64 = master.command(&["GET", "n"]).await;
    assert_eq!(held, 1, "the replica takes no writes");
    master.kill();
    until("the master is missed", || !kept.link.is_up()).await;
    assert!(kept.link.up_within(Duration::from_secs(20)).await, "the replica was not promoted");
    assert!(increase(&kept.link).await.is_ok());
    let moved: i64 = replica.command(&["GET", "n"]).await;
    assert!(moved >= 1);
}
