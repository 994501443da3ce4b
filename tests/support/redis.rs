//! A real `redis-server` of a test's own, and a line to it that can be cut, slowed, and lied on.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::{Client, FromRedisValue};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::port::Port;

/// A server; killed when dropped.
pub struct Redis {
    child: Mutex<Child>,
    pub port: u16,
    options: Vec<String>,
    _held: Port,
    _folder: TempDir,
}

impl Redis {
    /// Starts a server on a free port, without persistence, and waits until it answers.
    pub async fn start(options: &[&str]) -> Self {
        let bare = ["--save", "", "--appendonly", "no"];
        Self::start_with(None, &[&bare, options].concat()).await
    }

    /// Starts a server with a configuration file, which it may rewrite.
    pub async fn start_with(file: Option<&Path>, options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let held = Port::hold();
        let port = held.number();
        let mut all: Vec<String> = file.iter().map(|file| file.to_str().unwrap().to_owned()).collect();
        let (own, place) = (port.to_string(), folder.path().to_str().unwrap());
        let common = ["--port", &own, "--bind", "127.0.0.1", "--dir", place, "--loglevel", "warning"];
        all.extend(common.iter().map(ToString::to_string));
        all.extend(options.iter().map(ToString::to_string));
        let redis = Self { child: Mutex::new(spawn(&all)), port, options: all, _held: held, _folder: folder };
        redis.answering().await;
        redis
    }

    /// Returns its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Sends it a command.
    pub async fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_command(words).await.unwrap()
    }

    /// Kills it, as a crash would; what it held is gone.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it again on the same port, empty.
    pub async fn restart(&self) {
        *self.child.lock().unwrap() = spawn(&self.options);
        self.answering().await;
    }

    /// Freezes it, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let id = self.child.lock().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    async fn answering(&self) {
        for _ in 0..1_000 {
            if self.try_command::<String>(&["PING"]).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("redis-server on port {} does not answer", self.port);
    }

    async fn try_command<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut connection = Client::open(self.url())?.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(*word);
        });
        command.query_async(&mut connection).await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        drop(child.kill());
        drop(child.wait());
    }
}

fn spawn(options: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server: {error}; scripts/test-environment installs it"))
}

/// What a line does to what is sent over it.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Each piece takes that much longer in either direction.
    Slow(Duration),
    /// Nothing gets through, and nobody is told.
    Partition,
    /// Connections are closed, and no new ones are answered.
    Reset,
    /// Every command is answered with these bytes, and goes nowhere.
    Says(&'static str),
    /// Commands get through; their answers do not.
    AnswersLost,
}

/// A line to a server.
pub struct Line {
    pub port: u16,
    fault: Arc<watch::Sender<Fault>>,
    /// How often a script was called over it.
    pub scripts: Arc<AtomicUsize>,
}

impl Line {
    /// Lays a line to `port`.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let fault = Arc::new(watch::Sender::new(Fault::None));
        let scripts = Arc::new(AtomicUsize::new(0));
        let (seen, counted) = (Arc::clone(&fault), Arc::clone(&scripts));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, port, seen.subscribe(), Arc::clone(&counted)));
            }
        });
        Self { port: own, fault, scripts }
    }

    /// Returns the address of its near end.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Puts a fault on it, or takes it off.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

async fn carry(client: TcpStream, port: u16, fault: watch::Receiver<Fault>, scripts: Arc<AtomicUsize>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let to_client = Arc::new(tokio::sync::Mutex::new(to_client));
    let mut resets = fault.clone();
    tokio::select! {
        _ = resets.wait_for(|fault| *fault == Fault::Reset) => {}
        () = commands(from_client, to_server, Arc::clone(&to_client), fault.clone(), scripts) => {}
        () = answers(from_server, to_client, fault) => {}
    }
}

async fn commands(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    back: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    mut fault: watch::Receiver<Fault>,
    scripts: Arc<AtomicUsize>,
) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let now = fault.borrow().clone();
        match now {
            Fault::Slow(by) => tokio::time::sleep(by).await,
            Fault::Partition => drop(fault.wait_for(|fault| *fault != Fault::Partition).await),
            Fault::Says(text) => {
                drop(back.lock().await.write_all(text.as_bytes()).await);
                continue;
            }
            Fault::None | Fault::Reset | Fault::AnswersLost => {}
        }
        let calls = piece[..length].windows(7).filter(|window| window == b"EVALSHA").count();
        scripts.fetch_add(calls, Ordering::Relaxed);
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    to: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    mut fault: watch::Receiver<Fault>,
) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let now = fault.borrow().clone();
        match now {
            Fault::Slow(by) => tokio::time::sleep(by).await,
            Fault::Partition => drop(fault.wait_for(|fault| *fault != Fault::Partition).await),
            Fault::AnswersLost => continue,
            Fault::None | Fault::Reset | Fault::Says(_) => {}
        }
        if to.lock().await.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
