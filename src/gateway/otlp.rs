//! Tells an OTLP receiver of exchanges, from the journal and in the background.
//!
//! A receiver that is down delays nothing: what was not taken is read again. It begins with what is written after the start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Method, Request};
use prost::Message;
use tokio::sync::watch;

use super::rounds;
use crate::aside::aside;
use crate::config::{self, Credential};
use crate::journal::{Entry, ExchangeRecord, Pause, Place, ReadFailure, Reader, Stream};
use crate::pipeline::Tercet;
use crate::upstream::Upstream;
use crate::view::{Meters, Resource, spans};

/// What is told, and up to where it was.
struct Teller {
    receiver: Upstream,
    journal: PathBuf,
    resource: Resource,
    meters: Meters,
    place: Place,
}

/// Tells what was written, every two seconds and once more at the end.
pub(super) async fn keep(tercet: Arc<Tercet>, mut ended: watch::Receiver<bool>) {
    let journal = &tercet.runtime.journal;
    let head = journal.head(Stream::Exchanges).seq;
    let mut teller = match begin(&tercet, head).await {
        Ok(Some(teller)) => teller,
        Ok(None) => return,
        Err(problem) => return tracing::error!(problem, "exchanges are not told by OTLP"),
    };
    let (mut failures, mut told_at) = (0_u32, teller.place.seq);
    loop {
        let is_end = rounds::wait(failures, &mut ended).await;
        let now = u64::try_from(tercet.runtime.clock.now().as_nanosecond()).unwrap_or(0);
        let head = journal.head(Stream::Exchanges).seq;
        let told = teller.tell(head, &mut told_at, now).await;
        let (copied, now) = (&tercet.runtime.copies.otlp, tercet.runtime.clock.now());
        copied.stands(teller.place.seq.min(told_at), head, now);
        match told {
            Ok(()) => failures = 0,
            Err(problem) => {
                copied.failed(now);
                if failures == 0 {
                    tracing::warn!(problem, "the OTLP receiver takes nothing; it is tried again");
                }
                failures = failures.saturating_add(1);
            }
        }
        if is_end {
            return;
        }
    }
}

/// Finds the journal's end; `None` where no receiver is configured.
async fn begin(tercet: &Tercet, head: u64) -> Result<Option<Teller>, String> {
    let snapshot = tercet.snapshot.load_full();
    let Some(config::Otlp { url, latest }) = snapshot.config.telemetry.otlp.clone() else { return Ok(None) };
    let receiver = Upstream::new(&config::Upstream {
        base_url: url,
        credential: Credential::Client,
        connect_timeout: TIMEOUT,
        first_byte_timeout: TIMEOUT,
        idle_timeout: TIMEOUT,
        fallbacks: Vec::new(),
        ..snapshot.config.upstream.clone()
    });
    let receiver = receiver.map_err(|problem| problem.to_string())?;
    let journal = tercet.runtime.journal.path().to_owned();
    let found = aside({
        let journal = journal.clone();
        move || {
            let mut reader = Reader::near_end(&journal, 0)?;
            let before = usize::try_from(head.saturating_sub(reader.place().seq)).unwrap_or(usize::MAX);
            reader.read(before, |_, _| {})?;
            Ok::<_, ReadFailure>(reader.place())
        }
    });
    let place = found.await.map_err(|error| error.to_string())?.map_err(|failure| failure.to_string())?;
    let now = u64::try_from(tercet.runtime.clock.now().as_nanosecond()).unwrap_or(0);
    let resource = Resource { instance: tercet.runtime.journal.origin().to_owned(), latest };
    Ok(Some(Teller { receiver, journal, resource, meters: Meters::since(now, latest), place }))
}

impl Teller {
    /// Tells of the records up to number `until`, and then of the sums, where they are others than at `told_at`.
    async fn tell(&mut self, until: u64, told_at: &mut u64, now: u64) -> Result<(), String> {
        while self.place.seq < until {
            let (journal, place) = (self.journal.clone(), self.place);
            let read = aside(move || read(&journal, place)).await;
            let (records, place, pause) =
                read.map_err(|error| error.to_string())?.map_err(|failure| failure.to_string())?;
            if let Some(request) = spans(&self.resource, records.iter().map(AsRef::as_ref)) {
                self.post("/v1/traces", request.encode_to_vec()).await?;
            }
            for record in &records {
                self.meters.add(record);
            }
            self.place = place;
            if pause == Pause::End {
                break;
            }
        }
        if *told_at != self.place.seq
            && let Some(request) = self.meters.told(&self.resource, now)
        {
            self.post("/v1/metrics", request.encode_to_vec()).await?;
            *told_at = self.place.seq;
        }
        Ok(())
    }

    async fn post(&self, path: &'static str, body: Vec<u8>) -> Result<(), String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(USER_AGENT, concat!("tercet/", env!("CARGO_PKG_VERSION")))
            .body(Bytes::from(body).into())
            .map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(TIMEOUT, self.receiver.send(request)).await;
        let answer = answer.map_err(|_| "no answer in time")?.map_err(|failure| failure.to_string())?;
        let status = answer.response.status();
        if status.is_success() { Ok(()) } else { Err(format!("status {} to {path}", status.as_u16())) }
    }
}

fn read(
    journal: &std::path::Path,
    place: Place,
) -> Result<(Vec<Arc<ExchangeRecord>>, Place, Pause), ReadFailure> {
    let mut reader = Reader::at(journal, place);
    let mut records = Vec::new();
    let pause = reader.read(BATCH, |_, entry| {
        if let Some(Entry::Exchange(record)) = entry {
            records.push(Arc::clone(record));
        }
    })?;
    Ok((records, reader.place(), pause))
}

const TIMEOUT: Duration = Duration::from_secs(10);
/// Records of one request to the receiver.
const BATCH: usize = 1_000;
