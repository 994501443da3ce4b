//! What `tercet export` prints, judged by the programs it is for, and by the metrics there really are.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tercet::telemetry::{Kind, Metrics, TABLE};

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Output {
    Command::new(program).args(arguments).current_dir(folder).output().unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn export(what: &str) -> String {
    let output = run(env!("CARGO_BIN_EXE_tercet"), &["export", what], Path::new("."));
    assert!(output.status.success(), "{}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_alert_fires_on_its_trouble_and_is_quiet_without() {
    let rules = deploy("prometheus/rules");
    let tested = run("promtool", &["test", "rules", "tercet.test.yml"], &rules);
    assert!(tested.status.success(), "{}", told(&tested));
    let text = export("alerts");
    assert_eq!(text, fs::read_to_string(rules.join("tercet.yml")).unwrap());
    let cases = fs::read_to_string(rules.join("tercet.test.yml")).unwrap();
    let alerts: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(alerts.len(), 12);
    for alert in alerts {
        let fires = format!("alertname=\"{alert}\", alertstate=\"firing\", ");
        assert!(cases.contains(&fires), "no case makes {alert} fire");
    }
}

#[test]
fn rules_name_only_metrics_that_exist() {
    let mut known = BTreeSet::new();
    for row in TABLE {
        match row.kind {
            Kind::Histogram(_) => {
                known.extend(["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", row.name)));
            }
            _ => drop(known.insert(row.name.to_owned())),
        }
    }
    let text = export("alerts");
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let named: BTreeSet<&str> = words.filter(|word| word.starts_with("tercet_")).collect();
    assert!(named.len() > 10);
    for name in named {
        assert!(known.contains(name), "{name} is no metric of ours");
    }
}

#[test]
fn promtool_finds_no_fault_with_the_metrics() {
    use std::io::Write;
    let metrics = Metrics::new(20_000).unwrap();
    metrics.expect_tenants(&["acme"]);
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(std::process::Stdio::piped());
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(metrics.render().as_bytes()).unwrap();
    let checked = child.wait_with_output().unwrap();
    assert!(checked.status.success() && checked.stderr.is_empty(), "{}", told(&checked));
}

#[test]
fn systemd_takes_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    // systemd looks for the program itself, which is installed elsewhere.
    let unit = export("systemd").replace("/usr/local/bin/tercet", env!("CARGO_BIN_EXE_tercet"));
    fs::write(folder.path().join("tercet.service"), unit).unwrap();
    let checked = run("systemd-analyze", &["verify", "./tercet.service"], folder.path());
    let faults: Vec<String> =
        told(&checked).lines().filter(|line| line.contains("tercet.service")).map(str::to_owned).collect();
    assert!(faults.is_empty(), "{faults:?}");
}
