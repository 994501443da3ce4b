//! Bodies that stream up without being held: files, batches, and whatever other paths take.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

use super::batch::Holding;
use super::exchange::Exchange;
use super::runtime::{Snapshot, Tercet};
use crate::config::Tiers;
use crate::journal::ObjectType;
use crate::route::{Asked, strongest_tier, tier_model};
use crate::tier::Tier;
use crate::upstream::BodyProblem;
use crate::wire::batch::{BatchRewriter, Named, NamedKind};

/// A client's body on its way up; a batch has its aliases resolved as it passes.
pub(super) struct Upload {
    inner: Incoming,
    rewriter: Option<BatchRewriter>,
    /// Of a batch: what holds it to budgets once all that it asks for is known.
    holding: Option<Arc<Holding>>,
    taking: Option<Taking>,
    /// Parts of the last chunk that are still to be sent.
    ready: VecDeque<Bytes>,
    snapshot: Arc<Snapshot>,
    /// Of a batch: whose objects its items may name, where objects have owners.
    owner: Option<Owner>,
    /// The tier a free choice stands for.
    strongest: Tier,
    passed_bytes: u64,
    max_bytes: u64,
    alarm: Pin<Box<Sleep>>,
    silence: Duration,
}

/// Holding a batch, before the end of its body is sent.
type Taking = JoinHandle<Result<(), BodyProblem>>;

/// The tenant that sends a batch.
struct Owner {
    tercet: Arc<Tercet>,
    tenant: String,
}

impl Upload {
    /// Passes a body of at most 500 MB, the API's own limit on files.
    pub(super) fn plain(inner: Incoming, exchange: &Exchange) -> Self {
        Self::new(inner, exchange, None, FILE_MAX_BYTES)
    }

    /// Passes a batch of at most 256 MB, the API's own limit.
    pub(super) fn batch(inner: Incoming, exchange: &Exchange) -> Self {
        let owner = exchange
            .has_owners()
            .then(|| Owner { tercet: Arc::clone(&exchange.tercet), tenant: exchange.tenant().to_owned() });
        let holding = exchange.holding.clone();
        Self { owner, holding, ..Self::new(inner, exchange, Some(BatchRewriter::default()), BATCH_MAX_BYTES) }
    }

    fn new(inner: Incoming, exchange: &Exchange, rewriter: Option<BatchRewriter>, max_bytes: u64) -> Self {
        let silence = exchange.snapshot.config.server.body_timeout;
        Self {
            inner,
            rewriter,
            holding: None,
            taking: None,
            ready: VecDeque::new(),
            snapshot: Arc::clone(&exchange.snapshot),
            owner: None,
            strongest: strongest_tier(exchange.routing()),
            passed_bytes: 0,
            max_bytes,
            alarm: Box::pin(tokio::time::sleep(silence)),
            silence,
        }
    }

    fn accept(&mut self, chunk: Bytes) -> Result<(), BodyProblem> {
        self.passed_bytes += chunk.len() as u64;
        if self.passed_bytes > self.max_bytes {
            return Err(format!("the body is over the limit of {} bytes", self.max_bytes).into());
        }
        match &mut self.rewriter {
            None => self.ready.push_back(chunk),
            Some(rewriter) => {
                let (tiers, strongest) = (&self.snapshot.config.tiers, self.strongest);
                let parts = rewriter.feed(&chunk, |model| alias(tiers, strongest, model))?;
                for named in rewriter.named() {
                    self.owner.as_ref().map_or(Ok(()), |owner| owner.check(&named))?;
                }
                self.ready.extend(parts);
            }
        }
        Ok(())
    }
}

impl Owner {
    /// Refuses an object of another tenant, as if it did not exist.
    fn check(&self, named: &Named) -> Result<(), BodyProblem> {
        let (kind, what) = match named.kind {
            NamedKind::File => (ObjectType::File, "file"),
            NamedKind::Container => (ObjectType::Container, "container"),
            NamedKind::Thread => (ObjectType::Thread, "thread"),
        };
        if self.tercet.runtime.ownership.owns(&self.tenant, kind, &named.id) {
            return Ok(());
        }
        Err(format!("requests.{}.params: no such {what}: {}", named.item, named.id).into())
    }
}

/// Returns the model an alias stands for; batches are not routed, so a free choice is the strongest allowed.
fn alias(tiers: &Tiers, strongest: Tier, model: &str) -> Option<String> {
    let tier = match Asked::parse(model) {
        Asked::Auto => strongest,
        Asked::Tier(tier) => tier,
        Asked::Model(_) => return None,
    };
    tier_model(tiers, tier).map(ToOwned::to_owned)
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyProblem;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyProblem>>> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(part))));
            }
            if let Some(taking) = &mut self.taking {
                ready!(Pin::new(taking).poll(context))??;
                self.taking = None;
                return Poll::Ready(None);
            }
            let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
                ready!(self.alarm.as_mut().poll(context));
                return Poll::Ready(Some(Err("the request's body stopped coming".into())));
            };
            let deadline = Instant::now() + self.silence;
            self.alarm.as_mut().reset(deadline);
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => self.accept(chunk)?,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    let summary = self.rewriter.take().map(BatchRewriter::finish).transpose()?;
                    match self.holding.take().zip(summary) {
                        // A task of its own: what it has begun to hold is never forgotten half-way.
                        Some((holding, summary)) => self.taking = Some(holding.begin(summary)),
                        None => return Poll::Ready(None),
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let open = self.rewriter.is_some() || self.taking.is_some();
        !open && self.ready.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // A batch may change its size on the way; anything else keeps the length its client announced.
        let batch = self.rewriter.is_some() || self.taking.is_some();
        if batch { SizeHint::default() } else { self.inner.size_hint() }
    }
}

const FILE_MAX_BYTES: u64 = 500 << 20;
const BATCH_MAX_BYTES: u64 = 256 << 20;
