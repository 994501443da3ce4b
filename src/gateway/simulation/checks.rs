//! What has to be true after each life of the gateway, whatever happened in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::client::PRICES;
use super::life::Ended;
use super::plan::{Ends, Life, NAMES, Plan};
use super::world::{Asked, Call, End, Seen, World};

/// What the journal's files say.
struct Written {
    exchanges: Vec<Value>,
    /// Reservations without an exchange, which the next start charges.
    open: Vec<Value>,
}

/// What is held against each other.
struct Audit<'a> {
    plan: &'a Plan,
    life: &'a Life,
    ended: &'a Ended,
    seen: &'a Seen,
    written: Written,
    broken: Vec<String>,
}

/// Checks all that is promised, and returns what the next start has to find spent by each tenant.
pub(super) fn check(world: &World, plan: &Plan, life: &Life, ended: &Ended, folder: &Path) -> [u64; 3] {
    let mut seen = world.seen();
    let mut audit = Audit { plan, life, ended, seen: &seen, written: read(folder), broken: Vec::new() };
    audit.records();
    audit.requests();
    audit.answers();
    audit.tries();
    audit.rates();
    let spent = audit.money();
    let outcomes: Vec<String> =
        audit.written.exchanges.iter().map(|record| text(record, "outcome").to_owned()).collect();
    let broken = audit.broken;
    seen.broken.extend(broken);
    tally(&mut seen, life, ended, &outcomes);
    spent
}

/// Counts what has come about, so that it is seen where something never does.
fn tally(seen: &mut Seen, life: &Life, ended: &Ended, outcomes: &[String]) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut count = |what: String| *counts.entry(what).or_default() += 1;
    for asked in seen.asked.iter().filter(|asked| asked.life == seen.life) {
        count(format!("requests {:?}", asked.end));
        count(format!("status {:?}", asked.status));
        count(format!("cache {:?}", asked.cache));
        if asked.late {
            count("requests behind the end".to_owned());
        }
    }
    for call in seen.calls.iter().filter(|call| call.life == seen.life) {
        count(format!("calls in life {}", call.life));
        count(format!("calls at {}", call.upstream));
        count(format!("calls whole {}", call.whole));
        count(format!("calls over a kept connection {}", call.reused));
    }
    for outcome in outcomes {
        count(format!("records {outcome}"));
    }
    let end = format!("{:?}", life.ends);
    let kind = end.split([' ', '(']).next().unwrap_or_default();
    count(format!("lives {kind}"));
    count(format!("lives {} in order {}", kind, ended.in_order));
    count(format!("lives with a failing disk {}", ended.disk_failed));
    for (what, more) in counts {
        *seen.tally.entry(what).or_default() += more;
    }
}

impl Audit<'_> {
    /// Each exchange is recorded once, at what the upstream counted; what was acknowledged is recorded.
    fn records(&mut self) {
        let (mut ids, mut calls) = (BTreeSet::new(), BTreeSet::new());
        let exchanges = std::mem::take(&mut self.written.exchanges);
        for record in &exchanges {
            if !ids.insert(text(record, "request_id")) {
                self.break_off(format!("recorded twice: {record}"));
            }
            let Some(number) = text(record, "upstream_request_id").strip_prefix("req_") else { continue };
            if !calls.insert(number) {
                self.break_off(format!("charged twice for one call: {record}"));
            }
            let call = &self.seen.calls[number.parse::<usize>().unwrap()];
            self.charge(record, call);
        }
        let (seen, is_whole) = (self.seen, self.ended.in_order);
        for (number, call) in seen.calls.iter().enumerate().filter(|(_, call)| call.life == seen.life) {
            if is_whole && call.whole && !calls.contains(number.to_string().as_str()) {
                self.break_off(format!("billed and not recorded: {}", brief(call)));
            }
        }
        for asked in seen.asked.iter().filter(|asked| asked.life == seen.life && asked.end == End::Whole) {
            let is_recorded = asked.id.as_deref().is_some_and(|id| ids.contains(id));
            if asked.status == Some(200) && !is_recorded && self.must_be_there(asked) {
                self.break_off(format!("acknowledged and not recorded: {}", told(asked)));
            }
        }
        self.written.exchanges = exchanges;
    }

    /// Each request that an upstream read is recorded, or held by a reservation that the next start charges.
    fn requests(&mut self) {
        let seen = self.seen;
        let mut recorded: BTreeMap<&str, usize> = BTreeMap::new();
        for record in &self.written.exchanges {
            *recorded.entry(text(record, "client")).or_default() += 1;
        }
        let twice = recorded.iter().find(|(client, count)| client.starts_with("sim/") && **count > 1);
        let mut broken: Vec<String> =
            twice.map(|twice| format!("more than one record: {twice:?}")).into_iter().collect();
        let is_killed = matches!(self.life.ends, Ends::Killed(_)) && !self.ended.disk_failed;
        for (index, name) in NAMES.iter().enumerate().filter(|_| is_killed || self.ended.in_order) {
            // A reservation that the stream's thread is to write is not waited for.
            let until = self.ended.at.saturating_sub(Duration::from_millis(5 + self.life.trouble.write_ms));
            let is_due = |call: &Call| self.ended.in_order || call.at < until;
            let mine = |call: &&Call| call.life == seen.life && self.tenant_of(call) == index && is_due(call);
            let sent: BTreeSet<&str> = seen.calls.iter().filter(mine).map(|call| call.tag.as_str()).collect();
            let missing: Vec<_> = sent.into_iter().filter(|tag| !recorded.contains_key(tag)).collect();
            let held = self.written.open.iter().filter(|held| text(held, "tenant") == *name).count();
            if missing.len() > held {
                broken.push(format!(
                    "sent, and neither recorded nor held: {missing:?}, of which {held} are held"
                ));
            }
        }
        self.broken.extend(broken);
    }

    /// Tells whether the record of an answer has to have outlasted the life's end.
    fn must_be_there(&self, asked: &Asked) -> bool {
        let synced_within = Duration::from_millis(110 + self.life.trouble.sync_ms);
        match self.life.ends {
            _ if self.ended.in_order => true,
            Ends::Powerless(_) => !self.ended.disk_failed && asked.ended_at + synced_within < self.ended.at,
            Ends::Killed(_) => !self.ended.disk_failed,
            Ends::Quiet | Ends::Told { .. } => false,
        }
    }

    fn charge(&mut self, record: &Value, call: &Call) {
        let (cost, source) = (number(record, "cost_nanousd"), text(record, "usage_source"));
        let truth = price(call);
        let outcome = text(record, "outcome");
        if source == "upstream" && cost > 0 && !(call.whole && cost == truth) {
            self.break_off(format!("charged {cost}, billed {truth}: {record}\n{}", brief(call)));
        }
        if source == "upstream" && cost == 0 && call.whole {
            self.break_off(format!("billed {truth} and charged nothing: {record}\n{}", brief(call)));
        }
        if source == "estimate" && outcome == "upstream_error" && call.stream && call.answered && cost < truth
        {
            self.break_off(format!("cut, and charged {cost} for {truth}: {record}\n{}", brief(call)));
        }
        if outcome == "ok" && !(call.whole && text(record, "tenant") == NAMES[self.tenant_of(call)]) {
            self.break_off(format!("recorded as answered: {record}\n{}", brief(call)));
        }
    }

    /// What came to a client as whole was whole, its own tenant's, and what the upstream wrote to the byte.
    fn answers(&mut self) {
        let seen = self.seen;
        for asked in seen.asked.iter().filter(|asked| asked.life == seen.life) {
            if asked.late && asked.status.is_some_and(|status| status != 529) {
                self.break_off(format!("let in after the end was told: {}", told(asked)));
            }
            if asked.status != Some(200) || asked.end != End::Whole {
                continue;
            }
            let body = String::from_utf8_lossy(&asked.body);
            let made_by = body.split("\"msg_").nth(1).and_then(|rest| rest.split('"').next());
            let Some(call) = made_by.and_then(|number| seen.calls.get(number.parse::<usize>().ok()?)) else {
                self.break_off(format!("an answer of nobody: {}\n{body}", told(asked)));
                continue;
            };
            let shared = asked.cache.as_deref().is_some_and(|cache| matches!(cache, "hit" | "joined"));
            let hit = asked.cache.as_deref() == Some("hit");
            let wrong = if call.prompt != asked.prompt || self.tenant_of(call) != asked.tenant {
                "the answer to another"
            } else if !shared && call.tag != asked.tag {
                "the answer to another request"
            } else if !(call.whole || call.failed && body.contains("event: error")) {
                "a cut that passes for an end"
            } else if hit && !call.whole {
                "kept although it failed"
            } else if asked.stream == call.stream && asked.body != call.body {
                "not what the upstream wrote"
            } else {
                continue;
            };
            self.break_off(format!("{wrong}: {}\n{}", told(asked), brief(call)));
        }
    }

    /// A request is sent again only where no work was done on it, nothing of an answer was passed on, and within bounds.
    fn tries(&mut self) {
        let seen = self.seen;
        let mut by_tag: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
        for call in seen.calls.iter().filter(|call| call.life == seen.life) {
            by_tag.entry(&call.tag).or_default().push(call);
        }
        let mut further = 0;
        for (tag, calls) in &by_tag {
            let first = seen.asked.iter().find(|asked| asked.tag == *tag).and_then(|asked| asked.first);
            for pair in calls.windows(2) {
                let (before, after) = (pair[0], pair[1]);
                let is_stale = before.reused && !before.answered;
                let is_refused = [429, 502, 503, 504, 529].contains(&before.status);
                let has_failed =
                    before.failed && (is_refused || before.status == 200 && before.output_tokens == 0);
                further += usize::from(!is_stale);
                if !(is_stale || has_failed) || first.is_some_and(|first| first < after.order) {
                    self.break_off(format!("sent again: {}\nafter {}", brief(after), brief(before)));
                }
            }
            if calls.len() > 5 {
                self.break_off(format!("{tag} was sent {} times", calls.len()));
            }
        }
        let asked = seen.asked.iter().filter(|asked| asked.life == seen.life).count();
        if further > asked / 10 + 5 {
            self.break_off(format!("{further} further tries for {asked} requests"));
        }
    }

    /// No more was let in than the limits allow, as seen from both sides.
    fn rates(&mut self) {
        let seen = self.seen;
        for (index, tenant) in self.plan.tenants.iter().enumerate() {
            let mine = |asked: &&Asked| asked.life == seen.life && asked.tenant == index;
            let let_in = seen.asked.iter().filter(mine).filter_map(|asked| {
                let sent = seen.calls.iter().find(|call| call.tag == asked.tag).map(|call| call.at);
                let shared = asked.cache.is_some() && asked.status == Some(200) && asked.end == End::Whole;
                Some((asked.at, sent.or(shared.then_some(asked.ended_at))?))
            });
            let let_in: Vec<_> = let_in.collect();
            if let Some(limit) = tenant.requests_per_minute {
                for (from, _) in &let_in {
                    for (_, to) in &let_in {
                        let count = let_in.iter().filter(|(at, by)| at >= from && by <= to).count();
                        let most = limit as f64 * (1.0 + to.saturating_sub(*from).as_secs_f64() / 60.0);
                        if count as f64 > most {
                            self.break_off(format!("{count} of {} from {from:?} to {to:?}", NAMES[index]));
                        }
                    }
                }
            }
            let Some(most) = tenant.concurrent_requests else { continue };
            let calls: Vec<&Call> = seen.calls.iter().filter(|call| call.life == seen.life).collect();
            let calls: Vec<&Call> = calls.into_iter().filter(|call| self.tenant_of(call) == index).collect();
            for call in &calls {
                let at_once = calls.iter().filter(|other| other.at <= call.at && call.at < other.until);
                let tags: BTreeSet<&str> = at_once.map(|call| call.tag.as_str()).collect();
                if tags.len() as u64 > most {
                    self.break_off(format!("{} has {tags:?} at once, of {most}", NAMES[index]));
                }
            }
        }
    }

    /// Returns what each tenant has spent, held against its budget and against the counters.
    fn money(&mut self) -> [u64; 3] {
        let of = |records: &[Value], name: &str, field: &str| -> u64 {
            records
                .iter()
                .filter(|record| text(record, "tenant") == name)
                .map(|record| number(record, field))
                .sum()
        };
        let settled = NAMES.map(|name| of(&self.written.exchanges, name, "cost_nanousd"));
        let held = NAMES.map(|name| of(&self.written.open, name, "estimate_nanousd"));
        if let Some(spent) = self.ended.spent
            && spent != settled
        {
            self.break_off(format!("the counters say {spent:?}, the journal {settled:?}"));
        }
        if self.ended.in_order && !self.written.open.is_empty() {
            self.break_off(format!("held and never settled: {:?}", self.written.open));
        }
        let spent: [u64; 3] = std::array::from_fn(|index| settled[index] + held[index]);
        for (index, tenant) in self.plan.tenants.iter().enumerate() {
            let Some(millis) = tenant.daily_millis else { continue };
            let beyond = if tenant.holds_most { 0 } else { MOST_NANOUSD };
            if spent[index] > millis * 1_000_000 + beyond {
                self.break_off(format!(
                    "{} has spent {} of {millis} thousandths",
                    NAMES[index], spent[index]
                ));
            }
        }
        spent
    }

    fn tenant_of(&self, call: &Call) -> usize {
        self.seen.asked.iter().find(|asked| asked.tag == call.tag).map_or(usize::MAX, |asked| asked.tenant)
    }

    fn break_off(&mut self, what: String) {
        self.broken.push(what);
    }
}

/// Reads the journal's files, whatever state they are in.
fn read(folder: &Path) -> Written {
    let files = std::fs::read_dir(folder.join("exchanges")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect();
    files.sort();
    let (mut exchanges, mut held) = (Vec::new(), Vec::new());
    for file in files {
        let text = std::fs::read(file).unwrap();
        for line in text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            let record: Value =
                serde_json::from_slice(line).unwrap_or_else(|error| panic!("no record: {error}"));
            match record["kind"].as_str() {
                Some("exchange") => exchanges.push(record),
                Some("reservation") => held.push(record),
                _ => {}
            }
        }
    }
    let settled: BTreeSet<&str> = exchanges.iter().map(|record| text(record, "request_id")).collect();
    held.retain(|record| !settled.contains(text(record, "request_id")));
    Written { open: held, exchanges }
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record[field].as_str().unwrap_or_default()
}

fn number(record: &Value, field: &str) -> u64 {
    record[field].as_u64().unwrap()
}

/// What a call is billed at by a list of prices of its own.
fn price(call: &Call) -> u64 {
    let (_, [input, output]) = PRICES.iter().find(|(model, _)| *model == call.model).unwrap();
    call.input_tokens * input + call.output_tokens * output
}

fn brief(call: &Call) -> String {
    let body = format!("{} bytes", call.body.len());
    format!("{:?}", Call { body: Vec::new(), ..call.clone() }).replace("body: []", &body)
}

fn told(asked: &Asked) -> String {
    let body = format!("{} bytes", asked.body.len());
    format!("{:?}", Asked { body: Vec::new(), ..asked.clone() }).replace("body: []", &body)
}

/// More than any request may cost.
const MOST_NANOUSD: u64 = 12_000_000;
