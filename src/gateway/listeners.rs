//! The two listeners, clients' and operators': what each hands its requests to.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::IntoResponse;
use http::{Request, Response};
use tower_service::Service;

use crate::admin::Problem;
use crate::limit::{Gate, GateKind};
use crate::pipeline::{self, Refused, Tercet};
use crate::server::{Door, Drained, Listener, Port, Refusal, Workers};

/// Serves clients on the workers' threads until `stop` resolves, then drains.
pub(super) async fn serve_data(
    data: Listener<impl Port>,
    tercet: &Arc<Tercet>,
    workers: Workers,
    stop: impl Future<Output = ()> + Send,
) -> Drained {
    let serving = Arc::clone(tercet);
    let handler = move |request, _| {
        let tercet = Arc::clone(&serving);
        async move { pipeline::handle(&tercet, request).await }
    };
    let refusing = Arc::clone(tercet);
    let refuse = move |refusal| {
        let refused = match refusal {
            Refusal::Panicked => Refused::Panicked,
            Refusal::Malformed(what) => Refused::Malformed(what),
            Refusal::HeadTooLarge => Refused::HeadTooLarge,
        };
        pipeline::refuse_unheard(&refusing, refused)
    };
    let gate = Gate::new(GateKind::NewConnections, tercet.runtime.clock.clone());
    let door = Door { gate, metrics: Some(Arc::clone(&tercet.runtime.metrics)) };
    data.serve(handler, refuse, door, workers, stop).await
}

/// Serves operators until `stop` resolves, and a moment longer what they have begun; on threads that serve no client.
pub(super) async fn serve_admin(
    admin: Listener,
    tercet: &Arc<Tercet>,
    router: Router,
    stop: impl Future<Output = ()> + Send,
) -> Drained {
    let handler = move |mut request: Request<_>, peer: crate::server::Peer| {
        let mut router = router.clone();
        request.extensions_mut().insert(ConnectInfo(peer.address));
        async move { router.call(request).await.unwrap_or_else(|never: Infallible| match never {}) }
    };
    let refusing = Arc::clone(tercet);
    let refuse = move |refusal| refuse_operator(&refusing, refusal);
    // A flood of connections to one listener takes none from the other.
    let gate = Gate::new(GateKind::NewConnections, tercet.runtime.clock.clone());
    admin.serve(handler, refuse, Door { gate, metrics: None }, Workers::default(), stop).await
}

fn refuse_operator(tercet: &Tercet, refusal: Refusal) -> Response<Body> {
    let problem = match refusal {
        Refusal::Panicked => {
            tercet.runtime.metrics.record_panic();
            Problem::Internal("a bug in this gateway stopped the call; it has been counted".to_owned())
        }
        Refusal::Malformed(what) => Problem::Invalid(what.to_owned()),
        Refusal::HeadTooLarge => {
            Problem::HeadTooLarge("the head is longer than 64 KiB or 100 headers".to_owned())
        }
    };
    problem.into_response()
}
