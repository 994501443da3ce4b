//! `tercet classify`: how much model each of many requests needs, for measuring the router against labelled prompts.
//!
//! Lines of JSON come in and go out one by one, so that any number of requests can be piped through. Outcomes are
//! learned first, as a running gateway learns them. Nothing is sent anywhere, and prices, limits of models and running
//! conversations are not considered: the tier is the cheapest that is sure to hold 95 % of the quality of opus.

use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::ending::{Ending, Exit, Failure, plain, tell};
use crate::classify::{RequestHints, Weights, classify as judge};
use crate::tier::{Judged, Tier};
use crate::wire::envelope;
use crate::workload::{Fingerprints, Outcome, Workloads, difficulty, quality, weigh};

/// Says how much model requests need: lines {"id", "body"} in, {"id", "tier", "score", "quality"} out.
#[derive(Args, Debug)]
pub(super) struct Classify {
    /// Outcomes to learn from first: lines {"body", "tier", "score"}, score from 0 to 1.
    #[arg(long, value_name = "FILE")]
    outcomes: Option<PathBuf>,
    /// Weights in place of those that come with the program.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Results are always lines of JSON; other commands are asked for them with this.
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    body: &'a RawValue,
}

#[derive(Deserialize)]
struct Labelled<'a> {
    #[serde(borrow)]
    body: &'a RawValue,
    tier: Tier,
    score: f64,
}

pub(super) fn classify(asked: &Classify) -> Ending {
    let weights = read_weights(asked.weights.as_deref())?;
    let workloads = Workloads::default();
    if let Some(path) = &asked.outcomes {
        learn_outcomes(path, &weights, &workloads, TENANT, CLIENT)?;
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let answered = each_line(io::stdin().lock(), "standard input", |line| {
        let answer = answer(line, &weights, &workloads)?;
        writeln!(out, "{answer}").map_err(|error| error.to_string())
    });
    // What was answered before a bad line stands.
    out.flush()?;
    answered.map(|()| Exit::Ok)
}

/// Learns from a file of labelled outcomes; returns how many there were.
pub(super) fn learn_outcomes(
    path: &Path,
    weights: &Weights,
    workloads: &Workloads,
    tenant: &str,
    client: &str,
) -> Result<u64, Failure> {
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut learned = 0;
    each_line(io::BufReader::new(file), &plain(&path.to_string_lossy()), |line| {
        let (outcome, judged, fingerprints) = read_outcome(line, weights, client)?;
        workloads.learn(tenant, &fingerprints, &judged.logits, outcome);
        learned += 1;
        Ok(())
    })?;
    Ok(learned)
}

fn read_weights(given: Option<&Path>) -> Result<Weights, Failure> {
    let Some(path) = given else { return Weights::embedded().map_err(Failure::run) };
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    Weights::parse(&text)
        .map_err(|problem| Failure::run(format_args!("{}: {problem}", plain(&path.to_string_lossy()))))
}

fn read_outcome(
    line: &[u8],
    weights: &Weights,
    client: &str,
) -> Result<(Outcome, Judged, Fingerprints), String> {
    let outcome: Labelled<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let tier = Tier::ROUTED.into_iter().position(|tier| tier == outcome.tier);
    let tier = tier.ok_or("tier is one of haiku, sonnet, opus")?;
    if !(0.0..=1.0).contains(&outcome.score) {
        return Err("score is from 0 to 1".to_owned());
    }
    let (judged, fingerprints) = read(outcome.body, weights, client)?;
    Ok((Outcome { tier, score: outcome.score, weight: 1.0 }, judged, fingerprints))
}

fn answer(line: &[u8], weights: &Weights, workloads: &Workloads) -> Result<String, String> {
    let request: Request<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let (tier, score, quality) = match read(request.body, weights, CLIENT) {
        Ok((judged, fingerprints)) => {
            let known = workloads.known(TENANT, &fingerprints);
            let complexity = weigh(&judged, known.as_ref());
            let suffices = |tier: &Tier| complexity.sufficiency_of(*tier, Tier::Opus) >= QUALITY_PERMILLE;
            let tier = Tier::ROUTED.into_iter().find(suffices).unwrap_or(Tier::Opus);
            (tier, difficulty(&judged, known.as_ref()), Some(quality(&judged.logits, known.as_ref())))
        }
        Err(refusal) => {
            tell(&format!("{}: not a body of /v1/messages, so as asked: {refusal}", request.id));
            (Tier::Opus, 0.0, None)
        }
    };
    Ok(json!({ "id": request.id, "tier": tier, "score": score, "quality": quality }).to_string())
}

fn read(body: &RawValue, weights: &Weights, client: &str) -> Result<(Judged, Fingerprints), String> {
    let envelope = envelope::read(body.get().as_bytes()).map_err(|refusal| refusal.message)?;
    let judged = judge(&envelope, &RequestHints::default(), weights);
    Ok((judged, Fingerprints::of(&envelope, client)))
}

/// Gives every line that is not empty to `take`; a failure names the line.
fn each_line(
    mut from: impl BufRead,
    name: &str,
    mut take: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), Failure> {
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let read = from.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
        let wrong = |why: &str| Failure::run(format_args!("{name}, line {number}: {why}"));
        match read {
            Ok(0) => break,
            Ok(_) if line.len() as u64 > LINE_BYTES_MAX => return Err(wrong("longer than 33 MiB")),
            Ok(_) if line.trim_ascii().is_empty() => {}
            Ok(_) => take(&line).map_err(|why| wrong(&plain(&why)))?,
            Err(error) => return Err(wrong(&error.to_string())),
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::run(format_args!("cannot read {}: {error}", plain(&path.to_string_lossy())))
}

/// Everything piped through belongs to one tenant and one client.
const TENANT: &str = "";
const CLIENT: &str = "";
/// A body of the API's largest size and its id.
const LINE_BYTES_MAX: u64 = 33 << 20;
const QUALITY_PERMILLE: u16 = 950;
