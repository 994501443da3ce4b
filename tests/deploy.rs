//! What `tercet export` prints, judged by the programs it is for, and by the metrics there really are.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tercet::telemetry::Metrics;

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
    assert_eq!(alerts.len(), 16);
    for alert in alerts {
        let fires = format!("alertname=\"{alert}\", alertstate=\"firing\", ");
        assert!(cases.contains(&fires), "no case makes {alert} fire");
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

/// A program of the environment that judges manifests.
fn judge(name: &str) -> String {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/clients/deploy/bin").join(name);
    assert!(program.exists(), "run scripts/test-environment");
    program.to_str().unwrap().to_owned()
}

#[test]
fn kubernetes_takes_the_manifests_and_they_are_hardened() {
    let folder = tempfile::tempdir().unwrap();
    let text = export("k8s");
    fs::write(folder.path().join("tercet.yaml"), &text).unwrap();
    let judged = |text: &str| {
        fs::write(folder.path().join("judged.yaml"), text).unwrap();
        run(&judge("kubernetes-validate"), &["--strict", "judged.yaml"], folder.path())
    };
    let whole = judged(&text);
    assert!(whole.status.success(), "{}", told(&whole));
    for (right, wrong) in
        [("runAsNonRoot: true", "runAsNoRoot: true"), ("periodSeconds: 10", "periodSeconds: ten")]
    {
        assert!(
            text.contains(right) && !judged(&text.replace(right, wrong)).status.success(),
            "{wrong} was taken"
        );
    }
    let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    let wanted = [
        "ServiceAccount",
        "ConfigMap",
        "PersistentVolumeClaim",
        "Deployment",
        "Service",
        "Service",
        "NetworkPolicy",
    ];
    assert_eq!(kinds, wanted);
    for hardening in [
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "capabilities: { drop: [ALL] }",
        "seccompProfile: { type: RuntimeDefault }",
        "startupProbe:",
        "livenessProbe:",
        "readinessProbe:",
        "limits:",
    ] {
        assert!(text.contains(hardening), "{hardening}");
    }
    let config = text.split_once("  tercet.toml: |\n").unwrap().1.split_once("---").unwrap().0;
    let config: String =
        config.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    is_valid(&config, "/run/secrets/tercet", folder.path());
}

/// A configuration that refers to secrets in a folder is valid where they are there.
fn is_valid(config: &str, secrets: &str, folder: &Path) {
    let ours = folder.join("secrets");
    fs::create_dir_all(&ours).unwrap();
    for name in ["admin-token", "anthropic-api-key", "team-key"] {
        assert!(config.contains(&format!("{secrets}/{name}")), "{name}");
        fs::write(ours.join(name), format!("secret-of-{name}-0123456789\n")).unwrap();
    }
    let file = folder.join("checked.toml");
    fs::write(&file, config.replace(secrets, ours.to_str().unwrap())).unwrap();
    let checked = run(env!("CARGO_BIN_EXE_tercet"), &["check", file.to_str().unwrap()], folder);
    assert!(checked.status.success(), "{}", told(&checked));
}

#[test]
fn compose_takes_the_folder_and_its_parts_fit_together() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("stack");
    let to = ["export", "compose", "--to", place.to_str().unwrap()];
    for _ in 0..2 {
        let written = run(env!("CARGO_BIN_EXE_tercet"), &to, folder.path());
        assert!(written.status.success(), "{}", told(&written));
    }
    let read = |name: &str| fs::read_to_string(place.join(name)).unwrap();
    let compose = read("compose.yaml");
    let schema = ["--builtin-schema", "vendor.compose-spec", "compose.yaml"];
    let judged = run(&judge("check-jsonschema"), &schema, &place);
    assert!(judged.status.success(), "{}", told(&judged));
    for service in ["tercet:", "prometheus:", "grafana:"] {
        let (_, after) = compose.split_once(&format!("\n  {service}\n")).unwrap();
        let service_text = after.split("\n\n").next().unwrap();
        for hardening in
            ["read_only: true", "cap_drop: [ALL]", "no-new-privileges:true", "memory: ", "127.0.0.1:"]
        {
            assert!(service_text.contains(hardening), "{service} {hardening}");
        }
    }
    // Every folder and file that is mounted is one that was written.
    for line in compose.lines().filter_map(|line| line.trim().strip_prefix("- ./")) {
        assert!(place.join(line.split(':').next().unwrap()).exists(), "{line}");
    }
    assert_eq!(read("prometheus/rules/tercet.yml"), export("alerts"));
    assert_eq!(read("grafana/dashboards/tercet.json"), export("dashboards"));
    is_valid(&read("tercet.toml"), "/run/secrets", folder.path());

    let token = folder.path().join("secrets/admin-token");
    let scrape = read("prometheus/prometheus.yml");
    let here = scrape
        .replace("/run/secrets/admin-token", token.to_str().unwrap())
        .replace("/etc/prometheus", place.join("prometheus").to_str().unwrap());
    fs::write(folder.path().join("prometheus.yml"), here).unwrap();
    let checked = run("promtool", &["check", "config", "prometheus.yml"], folder.path());
    assert!(checked.status.success() && told(&checked).contains("16 rules found"), "{}", told(&checked));
    assert!(read("grafana/provisioning/datasources/tercet.yaml").contains("url: http://prometheus:9090"));

    fs::write(place.join("tercet.toml"), "# mine\n").unwrap();
    fs::remove_file(place.join("compose.yaml")).unwrap();
    let refused = run(env!("CARGO_BIN_EXE_tercet"), &to, folder.path());
    assert!(!refused.status.success() && told(&refused).contains("differs"), "{}", told(&refused));
    assert!(!place.join("compose.yaml").exists(), "all or nothing");
}
