//! Reload: a new snapshot is built whole, or the old one stays.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use super::change_stream::ChangeStream;
use super::changes::differing;
use super::{Origin, rebuild};
use crate::config::{self, Config, Mode};
use crate::id::change_id;
use crate::journal::AdminRecord;
use crate::pipeline::{Snapshot, Tercet};
use crate::server::Certificates;

/// What can be done to a running gateway.
pub struct Control {
    pub(super) tercet: Arc<Tercet>,
    origin: Origin,
    certificates: Certified,
    seen: Mutex<[u8; 32]>,
    /// Held on a blocking thread while one reload or change is made, so that none undoes another.
    pub(super) changing: Mutex<()>,
    pub(super) shared: ChangeStream,
    /// Tells this process from the others.
    pub(super) process: String,
    leaked: Mutex<u64>,
}

/// The certificates of the listeners that have any.
pub(super) struct Certified {
    pub(super) server: Option<Arc<Certificates>>,
    pub(super) admin: Option<Arc<Certificates>>,
}

impl Certified {
    /// Reads the files of both anew, and puts them in force once all are sound.
    fn renew(&self, config: &Config) -> Result<(), Value> {
        let listeners = [(&self.server, &config.server.tls), (&self.admin, &config.admin.tls)];
        let mut read = Vec::new();
        for (certificates, files) in listeners {
            let (Some(certificates), Some(files)) = (certificates, files) else { continue };
            let renewed =
                certificates.read(files).map_err(|problem| json!([{ "message": problem.to_string() }]))?;
            read.push((certificates, renewed));
        }
        read.into_iter().for_each(|(certificates, renewed)| certificates.renew(renewed));
        Ok(())
    }
}

impl Control {
    pub(super) fn new(
        tercet: Arc<Tercet>,
        origin: Origin,
        certificates: Certified,
        shared: ChangeStream,
    ) -> Self {
        let snapshot = tercet.snapshot.load_full();
        let names: Vec<&str> = snapshot.config.tenants.keys().map(String::as_str).collect();
        tercet.runtime.metrics.expect_tenants(if names.is_empty() { &["default"] } else { &names });
        tercet.runtime.metrics.record_reload(&snapshot.config.version, tercet.runtime.clock.now());
        let seen = Mutex::new(origin.file.as_deref().map(config::digest_of_files).unwrap_or_default());
        let (changing, leaked) = (Mutex::default(), Mutex::default());
        let process = change_id();
        Self { tercet, origin, certificates, seen, changing, shared, process, leaked }
    }

    /// Reads the configuration again and puts it in force; `who` is written down.
    ///
    /// # Errors
    /// The problems, as the admin API shows them; the configuration in force stays.
    pub fn reload(&self, who: &str) -> Result<Value, Value> {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded = self.replace(who);
        drop(changing);
        if let Err(problems) = &reloaded {
            self.tercet.runtime.metrics.record_failed_reload();
            tracing::error!(%problems, "configuration not reloaded, the old one stays");
        }
        reloaded
    }

    fn replace(&self, who: &str) -> Result<Value, Value> {
        let Some(file) = &self.origin.file else {
            return Err(json!([{ "message": "this gateway was started without a configuration file" }]));
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = config::digest_of_files(file);
        let before = self.tercet.snapshot.load_full();
        let amendments = before.config.source.amendments();
        let loaded = config::load(file)
            .and_then(|loaded| loaded.amended(amendments))
            .map_err(|problems| problems_json(&problems))?;
        if loaded.server.listen != before.config.server.listen
            || loaded.admin.listen != before.config.admin.listen
        {
            tracing::warn!("listen addresses change with a restart only");
        }
        let snapshot = self.compile(loaded, &before)?;
        self.certificates.renew(&snapshot.config)?;
        let version = snapshot.config.version.clone();
        let (old, new) = differing(&config::describe(&before.config), &config::describe(&snapshot.config));
        let runtime = &self.tercet.runtime;
        let record = AdminRecord {
            id: None,
            timestamp: runtime.clock.now(),
            action: "config.reload".to_owned(),
            who: who.to_owned(),
            subject: Some("config".to_owned()),
            before: to_raw_value(&old).ok(),
            after: to_raw_value(&new).ok(),
            change: None,
        };
        self.put_in_force(snapshot);
        runtime.tasks.spawn(runtime.journal.append(&record.into()));
        tracing::info!(policy_version = version, "configuration reloaded");
        Ok(json!({ "policy_version": version }))
    }

    /// Compiles what was read again: the command line's mode and the port that the system chose stay.
    pub(super) fn compile(&self, config: Config, before: &Snapshot) -> Result<Snapshot, Value> {
        let mut config = with_mode(config, self.origin.mode);
        if config.server.listen.port() == 0 {
            config.server.public_url.clone_from(&before.config.server.public_url);
        }
        let built = rebuild::snapshot(config, Some(before));
        built.map_err(|problem| json!([{ "message": problem.to_string() }]))
    }

    pub(super) fn put_in_force(&self, snapshot: Snapshot) {
        let runtime = &self.tercet.runtime;
        let names: Vec<&str> = snapshot.config.tenants.keys().map(String::as_str).collect();
        runtime.metrics.expect_tenants(&names);
        runtime.metrics.record_reload(&snapshot.config.version, runtime.clock.now());
        self.tercet.snapshot.store(Arc::new(snapshot));
    }

    fn changed(&self) -> bool {
        let Some(file) = &self.origin.file else { return false };
        config::digest_of_files(file) != *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts reservations that were lost by a bug since the last look.
    fn count_leaks(&self) {
        let leaked = self.tercet.runtime.accounts.leaked();
        let mut counted = self.leaked.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in *counted..leaked {
            self.tercet.runtime.metrics.record_leaked_reservation();
        }
        *counted = leaked;
    }
}

/// Reloads when a file changes (looked at every two seconds) or SIGHUP comes, until the end.
///
/// Looking at content rather than being told of events survives replaced inodes and swapped symlinks.
pub(super) async fn watch_files(
    control: Arc<Control>,
    hangups: std::io::Result<Signal>,
    mut ended: watch::Receiver<bool>,
) {
    let Ok(mut hangups) = hangups else { return };
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        let who = tokio::select! {
            _ = ended.wait_for(|ended| *ended) => return,
            _ = hangups.recv() => Some("SIGHUP"),
            _ = ticks.tick() => None,
        };
        let control = Arc::clone(&control);
        let looked = tokio::task::spawn_blocking(move || {
            control.count_leaks();
            if let Some(who) = who.or_else(|| control.changed().then_some("file change")) {
                drop(control.reload(who));
            }
        });
        drop(looked.await);
    }
}

pub(super) fn problems_json(problems: &[config::ConfigProblem]) -> Value {
    problems.iter().map(config::ConfigProblem::to_json).collect()
}

/// Puts a mode given on the command line over the file's, for every tenant.
pub(super) fn with_mode(mut config: Config, mode: Option<Mode>) -> Config {
    if let Some(mode) = mode {
        config.routing.mode = mode;
        config.tenants.values_mut().for_each(|tenant| tenant.routing.mode = mode);
    }
    config
}

/// Names the port the system chose, where it was asked to choose one.
pub(super) fn with_address(mut config: Config, address: SocketAddr) -> Config {
    let asked = config.server.listen;
    if asked.port() == 0 && config.server.public_url.ends_with(":0") {
        let chosen = format!(":{}", address.port());
        config.server.public_url.truncate(config.server.public_url.len() - 2);
        config.server.public_url.push_str(&chosen);
    }
    config
}

/// Returns an address to call for one to listen on: "every address" is called over loopback.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

const LOOK_EVERY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_holds_for_every_tenant() {
        let text = "[tenants.a.routing]\nmode = \"off\"\n[tenants.b]\n";
        let config = with_mode(config::parse(text, None, &|_| None).unwrap(), Some(Mode::Enforce));
        let modes: Vec<Mode> = config.tenants.values().map(|tenant| tenant.routing.mode).collect();
        assert_eq!((config.routing.mode, modes), (Mode::Enforce, vec![Mode::Enforce; 2]));
    }
}
