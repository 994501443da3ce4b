//! Why a gateway does not start, and what to do about it.

use std::path::PathBuf;

use crate::catalog::CatalogProblem;
use crate::classify::WeightsProblem;
use crate::config::ConfigProblem;
use crate::journal::{OpenFailure, WalkFailure};
use crate::server::ListenProblem;
use crate::upstream::UpstreamProblem;
use crate::workload::WorkloadsProblem;

/// What could not be built.
#[derive(Debug, thiserror::Error)]
pub enum StartProblem {
    /// One of the listeners.
    #[error(transparent)]
    Listen(#[from] ListenProblem),
    /// The catalog's content.
    #[error("the catalog cannot be used: {0}")]
    Catalog(#[from] CatalogProblem),
    /// The catalog's file.
    #[error("cannot read the catalog {path}: {reason}")]
    CatalogFile {
        /// As configured.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A tier's model.
    #[error(
        "tiers.{tier}: \"{model}\" is not a model of the catalog; give a model's id, or a catalog that holds it"
    )]
    TierModel {
        /// The tier.
        tier: &'static str,
        /// As configured.
        model: String,
    },
    /// The judge of a shadow sample.
    #[error("shadow_sample.judge: \"{0}\" is not a model of the catalog; give a model's id")]
    Judge(String),
    /// The classifier's weights.
    #[error("the classifier is {0}")]
    Weights(#[from] WeightsProblem),
    /// What was learned of workloads.
    #[error("workloads.jsonl beside the journal, {0}; move it aside to start with nothing learned")]
    Workloads(#[from] WorkloadsProblem),
    /// The upstream.
    #[error(transparent)]
    Upstream(#[from] UpstreamProblem),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] OpenFailure),
    /// The journal's changes cannot be read.
    #[error("{0}; `tercet audit verify` says more")]
    Unreadable(#[from] WalkFailure),
    /// A change in the journal that cannot be read; of a later version, perhaps.
    #[error(
        "change {seq} in the journal cannot be restored: {what}; was it made by a later version of Tercet?"
    )]
    Change {
        /// The record's number.
        seq: u64,
        /// What is wrong.
        what: String,
    },
    /// The file no longer agrees with what was changed since.
    #[error("the file does not agree with what was changed by the admin API:\n{}", listed(.0))]
    Changes(Vec<ConfigProblem>),
    /// Another process changed something while this one started.
    #[error("another process was ending while this one started; start it again")]
    Changing,
    /// The id under which counters are shared.
    #[error("the id of this instance cannot be kept beside the journal: {0}")]
    Instance(String),
    /// The threads that serve clients.
    #[error(
        "cannot start the threads that serve clients: {0}; raise the limit of tasks or open files of the process"
    )]
    Threads(std::io::Error),
    /// The metrics.
    #[error("metrics cannot be set up: {0}")]
    Metrics(String),
}

fn listed(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}

impl StartProblem {
    /// Tells whether the configuration is at fault rather than the machine.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Catalog(_)
                | Self::CatalogFile { .. }
                | Self::TierModel { .. }
                | Self::Judge(_)
                | Self::Upstream(_)
                | Self::Changes(_)
        )
    }

    /// Tells whether another process has the port of a listener.
    #[must_use]
    pub const fn is_taken_port(&self) -> bool {
        matches!(self, Self::Listen(ListenProblem::Taken { .. }))
    }
}
