//! What is shared with other instances: the links, and the counters over one of them.

use std::sync::Arc;

use super::problem::StartProblem;
use crate::config::Config;
use crate::journal;
use crate::store::{Link, LinkUse, Sharing};

/// The parts that reach other instances; empty where nothing is configured.
pub(super) struct Shared {
    pub(super) counters: Option<Arc<Link>>,
    pub(super) answers: Option<Arc<Link>>,
    pub(super) sharing: Option<Arc<Sharing>>,
}

/// Builds the links, which are down until the gateway serves.
pub(super) fn shared(config: &Config) -> Result<Shared, StartProblem> {
    let redis = &config.redis;
    if let (Some(counters), Some(answers)) = (&redis.counters, &redis.cache)
        && counters.node.addr() == answers.node.addr()
    {
        tracing::warn!(server = %counters, "counters and kept answers share one redis: answers may fill its memory, \
            and counters be refused or evicted; give each a server of its own");
    }
    let counters = redis.counters.clone().map(|server| Link::new(server, LinkUse::Counters));
    let answers = redis.cache.clone().map(|server| Link::new(server, LinkUse::Answers));
    let sharing = match &counters {
        None => None,
        Some(link) => {
            let id = journal::instance_id(&config.journal.path);
            let id = id.map_err(|error| StartProblem::Instance(error.to_string()))?;
            Some(Sharing::new(Arc::clone(link), id, redis.on_failure))
        }
    };
    Ok(Shared { counters, answers, sharing })
}
