//! The trickle of sample traffic: about two requests a second, through the gateway's own port, until dropped.
//!
//! At most [`CALLS_MAX`] calls at once; a beat that finds no room is left out. What an answer says is nobody's
//! concern here but the agent's, which goes on from it. Refusals belong to the picture.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::people::People;
use super::samples::{self, Dice};
use crate::cli::call::{Answer, CALL_TIMEOUT, Caller};

/// Sends sample traffic to the gateway at `base_url` until dropped.
pub(super) async fn trickle(base_url: String, people: People) {
    let town = Arc::new(Town { caller: Caller::plain(), base_url, people });
    let mut dice = Dice::new(SEED);
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut calls = JoinSet::new();
    calls.spawn(rehearse(Arc::clone(&town)));
    loop {
        beat.tick().await;
        while calls.try_join_next().is_some() {}
        if calls.len() < CALLS_MAX {
            let act = Act::of(&mut dice);
            calls.spawn(act.play(Arc::clone(&town), dice.clone()));
        }
    }
}

/// Where calls go and whose keys they bear.
struct Town {
    caller: Caller,
    base_url: String,
    people: People,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Chat,
    Support,
    Title,
    Extraction,
    Story,
    Caption,
    Novel,
    Repeated,
    Batch,
    Review,
}

impl Act {
    fn of(dice: &mut Dice) -> Self {
        match dice.below(100) {
            0..28 => Self::Chat,
            28..40 => Self::Support,
            40..54 => Self::Title,
            54..66 => Self::Extraction,
            66..74 => Self::Story,
            74..78 => Self::Caption,
            78..80 => Self::Novel,
            80..92 => Self::Repeated,
            92..94 => Self::Batch,
            _ => Self::Review,
        }
    }

    async fn play(self, town: Arc<Town>, mut dice: Dice) {
        let dice = &mut dice;
        let user = match (self, dice.below(2)) {
            (Self::Chat | Self::Title, 0) => "ann",
            (Self::Chat | Self::Title, _) => "bob",
            (Self::Support | Self::Extraction, _) => "support-desk",
            (Self::Caption | Self::Novel, _) => "mia",
            (Self::Repeated | Self::Story, _) => "lee",
            (Self::Batch, _) => "nightly",
            (Self::Review, _) => return review(&town, dice).await,
        };
        let body = match self {
            Self::Chat | Self::Support | Self::Review => samples::chat(dice),
            Self::Title => samples::title(dice),
            Self::Extraction => samples::extraction(dice),
            Self::Story => samples::story(dice),
            Self::Caption => samples::caption(dice),
            Self::Novel => samples::novel(),
            Self::Repeated => samples::repeated(),
            Self::Batch => samples::batch(dice),
        };
        let path = if self == Self::Batch { "/v1/messages/batches" } else { "/v1/messages" };
        town.post(path, user, &body, None).await;
    }
}

impl Town {
    /// Posts a body; `None` where no answer came.
    async fn post(
        &self,
        path: &str,
        user: &str,
        body: &Value,
        header: Option<(&str, &str)>,
    ) -> Option<Answer> {
        let mut request = Request::post(format!("{}{path}", self.base_url))
            .header("x-api-key", self.people.key_of(user))
            .header("anthropic-version", "2023-06-01")
            .header("content-type", "application/json")
            .header("user-agent", "tercet-demo");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_string()))).ok()?;
        self.caller.call(request, CALL_TIMEOUT).await.ok()
    }
}

/// An agent at work: it calls tools, reads their results and goes on.
async fn review(town: &Town, dice: &mut Dice) {
    let session = format!("review-{:08x}", dice.below(1 << 32));
    let mut body = samples::review(dice);
    loop {
        let header = Some(("x-claude-code-session-id", session.as_str()));
        let Some(answer) = town.post("/v1/messages", "review-bot", &body, header).await else { return };
        let answer = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
        let Some(next) = samples::next_turn(body, &answer, REVIEW_TURNS) else { return };
        body = next;
        tokio::time::sleep(THINKING_PAUSE).await;
    }
}

/// Spends most of the studio's budget, so that the dashboard has a bar that is nearly full.
async fn rehearse(town: Arc<Town>) {
    for number in 0..SCENES_MAX {
        let header = Some(("x-tercet-route", "off"));
        let answer = town.post("/v1/messages", "mia", &samples::scene(number), header).await;
        if answer.is_none_or(|answer| !answer.status.is_success()) {
            return;
        }
    }
}

const SEED: u64 = 8787;
const BEAT: Duration = Duration::from_millis(550);
const THINKING_PAUSE: Duration = Duration::from_millis(700);
const CALLS_MAX: usize = 16;
const REVIEW_TURNS: usize = 4;
/// Twice what the studio's budget is good for.
const SCENES_MAX: u64 = 40;
