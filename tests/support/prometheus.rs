//! A real Prometheus that scrapes one gateway.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::http::get;
use super::port::Port;

/// A running Prometheus; killed when dropped.
pub struct Prometheus {
    child: Child,
    url: String,
    _held: Port,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes `target` ten times a second, as instance `tercet` of job `tercet`.
    pub async fn start(target: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let port = Port::hold();
        let target = target.trim_start_matches("http://");
        let config = format!(
            "global: {{ scrape_interval: 100ms, scrape_timeout: 100ms }}\nscrape_configs:\n  - job_name: tercet\n    \
             static_configs: [{{ targets: ['{target}'], labels: {{ instance: tercet }} }}]\n"
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={}", port.address))
            .arg("--enable-feature=exemplar-storage")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let prometheus =
            Self { child, url: format!("http://{}", port.address), _held: port, _folder: folder };
        prometheus.when("up", |answer| answer.values().any(|value| *value > 0.0)).await;
        prometheus
    }

    /// Asks a query at a time, now where none is said; values by label values, joined in the order of the labels' names.
    pub async fn ask(&self, query: &str, time_s: Option<f64>) -> Result<BTreeMap<String, f64>, String> {
        let mut asked = form_urlencoded::Serializer::new(String::new());
        asked.append_pair("query", query);
        if let Some(time) = time_s {
            asked.append_pair("time", &format!("{time:.3}"));
        }
        let answer = get(&self.url, "", &format!("/api/v1/query?{}", asked.finish())).await;
        if answer.status == 503 {
            return Err("it is not ready yet".to_owned());
        }
        let answer = answer.json();
        let Some(result) = answer["data"]["result"].as_array() else { return Err(answer.to_string()) };
        Ok(result.iter().map(read).collect())
    }

    /// Returns the exemplars it keeps of a metric, of the last hour.
    pub async fn exemplars(&self, metric: &str) -> Vec<Value> {
        let path = format!("/api/v1/query_exemplars?query={metric}&start=0&end=9999999999");
        let answer = get(&self.url, "", &path).await.json();
        let series = answer["data"].as_array().unwrap_or_else(|| panic!("{answer}"));
        series.iter().flat_map(|one| one["exemplars"].as_array().unwrap()).cloned().collect()
    }

    /// Waits until a query's answer is as wanted, half a minute at most.
    pub async fn when(&self, query: &str, wanted: impl Fn(&BTreeMap<String, f64>) -> bool) {
        for _ in 0..600 {
            if self.answers().await && self.ask(query, None).await.is_ok_and(|answer| wanted(&answer)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("Prometheus does not come to it: {query}");
    }

    async fn answers(&self) -> bool {
        tokio::net::TcpStream::connect(self.url.trim_start_matches("http://")).await.is_ok()
    }
}

fn read(sample: &Value) -> (String, f64) {
    let labels = sample["metric"].as_object().unwrap();
    let values = labels.iter().filter(|(name, _)| *name != "__name__" && *name != "job");
    let mut values: Vec<(&String, &str)> =
        values.map(|(name, value)| (name, value.as_str().unwrap())).collect();
    values.sort();
    let key = values.iter().map(|(_, value)| *value).collect::<Vec<_>>().join("/");
    (key, sample["value"][1].as_str().unwrap().parse().unwrap())
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
