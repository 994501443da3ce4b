//! How a gateway is configured in a simulated world, and how its lives end: drawn once for each seed.

use std::path::Path;

use super::client::KEYS;
use super::dice::Dice;
use super::upstream::CREDENTIALS;
use crate::config::{self, Config};
use crate::journal::disk::Trouble;

/// What a seed draws before anything happens.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) lives: Vec<Life>,
    pub(super) tenants: [Tenant; 3],
    cache: bool,
    mode: &'static str,
    fallback: Option<bool>,
    retry_streams: bool,
    pub(super) drain_s: u64,
    max_in_flight: u64,
}

/// Ceilings of a tenant.
#[derive(Clone, Debug)]
pub(super) struct Tenant {
    pub(super) requests_per_minute: Option<u64>,
    pub(super) concurrent_requests: Option<u64>,
    /// Thousandths of a dollar a day.
    pub(super) daily_millis: Option<u64>,
    /// Holds the most a request may come to.
    pub(super) holds_most: bool,
    cache: Option<bool>,
}

/// One life of the gateway.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) clients: usize,
    pub(super) requests: usize,
    pub(super) trouble: Trouble,
    pub(super) ends: Ends,
    pub(super) reloads: u64,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// In good order once all is quiet.
    Quiet,
    /// In good order, with requests in flight.
    Told { after_ms: u64 },
    /// By a kill, after a time or in the middle of a write; what was written stays.
    Killed(When),
    /// Likewise, and the power goes: what was not synced may be gone.
    Powerless(When),
}

/// When the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    After { ms: u64 },
    InWrite(u64),
}

impl Plan {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let lives = 1 + dice.index(3);
        Self {
            lives: (0..lives).map(|_| Life::draw(dice)).collect(),
            tenants: std::array::from_fn(|_| Tenant::draw(dice)),
            cache: dice.one_in(2),
            mode: dice.pick(&["off", "shadow", "enforce"]),
            fallback: dice.one_in(2).then(|| dice.one_in(2)),
            retry_streams: dice.one_in(2),
            drain_s: dice.pick(&[1, 5, 40]),
            max_in_flight: dice.pick(&[3, 1_000, 1_000]),
        }
    }

    /// Writes it as an operator would, with the journal in a folder.
    pub(super) fn config(&self, folder: &Path) -> Config {
        let journal = folder.display();
        let (mode, retry, room) = (self.mode, self.retry_streams, self.max_in_flight);
        let mut text = format!(
            "[server]\ndrain_timeout = \"{}s\"\nmax_in_flight = {room}\n[routing]\nmode = \"{mode}\"\n\
             [journal]\npath = \"{journal}\"\n[cache]\nenabled = {}\n\
             [upstream]\nbase_url = \"http://one.test\"\ncredential = {{ env = \"ONE\" }}\nretry_streams = {retry}\n\
             connect_timeout = \"3s\"\nfirst_byte_timeout = \"20s\"\nidle_timeout = \"10s\"\n",
            self.drain_s, self.cache
        );
        if let Some(same_account) = self.fallback {
            text += &format!(
                "[[upstream.fallback]]\nname = \"two\"\nbase_url = \"http://two.test\"\n\
                 credential = {{ env = \"TWO\" }}\nsame_account = {same_account}\n"
            );
        }
        for (tenant, name) in self.tenants.iter().zip(NAMES) {
            text += &tenant.text(name);
        }
        let environment = |name: &str| {
            let place = ["ONE", "TWO", "A", "B", "C"].iter().position(|known| *known == name)?;
            Some([&CREDENTIALS[..], &KEYS].concat()[place].to_owned())
        };
        config::parse(&text, None, &environment).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
    }

    /// Changes what an operator might while the gateway runs; ceilings only up, so that what was let in stays within.
    pub(super) fn change(&mut self, dice: &mut Dice) {
        self.cache = dice.one_in(2);
        self.retry_streams = dice.one_in(2);
        let tenant = &mut self.tenants[dice.index(3)];
        match dice.below(3) {
            0 => tenant.requests_per_minute = tenant.requests_per_minute.map(|limit| limit + 3),
            1 => tenant.concurrent_requests = tenant.concurrent_requests.map(|limit| limit + 1),
            _ => tenant.daily_millis = tenant.daily_millis.map(|millis| millis * 2),
        }
    }
}

impl Tenant {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            requests_per_minute: dice.one_in(2).then(|| dice.pick(&[2, 6, 20])),
            concurrent_requests: dice.one_in(2).then(|| dice.pick(&[1, 2, 4])),
            daily_millis: dice.one_in(2).then(|| dice.pick(&[3, 20, 80, 100_000])),
            holds_most: dice.one_in(2),
            cache: dice.one_in(3).then(|| dice.one_in(2)),
        }
    }

    fn text(&self, name: &str) -> String {
        let mut text = format!(
            "[[tenants.{name}.keys]]\nid = \"{name}-1\"\nsecret = {{ env = \"{}\" }}\n[tenants.{name}.limits]\n",
            name.to_uppercase()
        );
        for (limit, value) in [
            ("requests_per_minute", self.requests_per_minute),
            ("concurrent_requests", self.concurrent_requests),
        ] {
            text += &value.map(|value| format!("{limit} = {value}\n")).unwrap_or_default();
        }
        if let Some(millis) = self.daily_millis {
            let reserve = if self.holds_most { "max" } else { "expected" };
            text += &format!(
                "[tenants.{name}.budget]\ndaily = \"{}.{:03} USD\"\nreserve = \"{reserve}\"\n",
                millis / 1_000,
                millis % 1_000
            );
        }
        if let Some(cache) = self.cache {
            text += &format!("[tenants.{name}.cache]\nenabled = {cache}\n");
        }
        text
    }
}

impl Life {
    fn draw(dice: &mut Dice) -> Self {
        let trouble = Trouble {
            short: dice.pick(&[0, 0, 200]),
            refused: dice.pick(&[0, 0, 0, 30, 150]),
            uncut: dice.pick(&[0, 0, 300]),
            unsynced: dice.pick(&[0, 0, 0, 0, 30]),
            sync_ms: dice.pick(&[0, 3, 40]),
            write_ms: dice.pick(&[0, 0, 30, 300]),
        };
        let when = if dice.one_in(2) {
            When::After { ms: dice.below(20_000) }
        } else {
            When::InWrite(dice.below(60))
        };
        let ends = match dice.below(5) {
            0 | 1 => Ends::Quiet,
            2 => Ends::Told { after_ms: dice.below(15_000) },
            3 => Ends::Killed(when),
            _ => Ends::Powerless(when),
        };
        Self {
            clients: 2 + dice.index(5),
            requests: 2 + dice.index(5),
            trouble,
            ends,
            reloads: dice.below(3),
        }
    }
}

/// Names of the tenants.
pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];
