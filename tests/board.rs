//! The Grafana dashboard: that the file is what the table of panels makes, that Grafana's own types take it, and that
//! each panel's number is the journal's, asked of a real Prometheus that scraped the real binary.
//!
//! `UPDATE=1 cargo test --test board` writes `deploy/grafana/tercet.json`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod support;

#[path = "board/panel.rs"]
mod panel;
#[path = "board/script.rs"]
mod script;
#[path = "board/spending.rs"]
mod spending;
#[path = "board/traffic.rs"]
mod traffic;
#[path = "board/truth.rs"]
mod truth;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use panel::{RELOADS, Row, Shape, board};
use script::{BUDGET_WINDOWS, BUDGETS, DAILY_TOKENS, RELOADED, sample};
use serde_json::Value;
use support::process;
use tercet::telemetry::{Kind, TABLE};
use truth::Expected;

fn rows() -> Vec<Row> {
    let mut rows = spending::rows();
    rows.extend(traffic::rows());
    rows
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana/tercet.json")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test may be told to rewrite what it compares")]
fn the_file_is_what_the_panels_make() {
    let made = format!("{}\n", serde_json::to_string_pretty(&board(&rows())).unwrap());
    if std::env::var("UPDATE").is_ok() {
        std::fs::create_dir_all(file().parent().unwrap()).unwrap();
        std::fs::write(file(), &made).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(file()).unwrap_or_default(),
        made,
        "run `UPDATE=1 cargo test --test board`"
    );
    assert_eq!(process::run(&["export", "dashboards"]).1, made);
}

#[test]
fn every_panel_is_told_in_words_and_units_and_stands_by_itself() {
    let titles: Vec<&str> = rows().iter().map(|row| row.title).collect();
    assert_eq!(
        titles,
        ["Money", "Tenants", "Models and tokens", "Routing", "Limits", "Reliability", "Internals"]
    );
    let board = board(&rows());
    let (mut ids, mut taken) = (BTreeMap::new(), BTreeMap::new());
    for panel in board["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert_eq!(ids.insert(panel["id"].as_u64().unwrap(), title), None, "{title}");
        let place = |field: &str| panel["gridPos"][field].as_u64().unwrap();
        for x in place("x")..place("x") + place("w") {
            assert!(x < 24, "{title}");
            for y in place("y")..place("y") + place("h") {
                assert_eq!(taken.insert((x, y), title), None, "{title} stands on another panel");
            }
        }
        if panel["type"] != "row" {
            assert!(panel["description"].as_str().unwrap().ends_with('.'), "{title}");
            assert!(!panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap().is_empty(), "{title}");
        }
    }
}

/// Grafana's own types take the dashboard and each panel's options.
#[test]
fn grafana_s_own_types_take_it() {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/clients/node/node_modules");
    assert!(modules.join("@grafana/schema").exists(), "run scripts/test-environment");
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(&modules, folder.path().join("node_modules")).unwrap();
    let check = |board: &Value| {
        std::fs::write(folder.path().join("board.ts"), typed(board)).unwrap();
        let arguments =
            ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022"];
        let told = std::process::Command::new(modules.join(".bin/node"))
            .arg(modules.join("typescript/bin/tsc"))
            .args(arguments)
            .arg("board.ts")
            .current_dir(folder.path())
            .output()
            .unwrap();
        (told.status.success(), String::from_utf8_lossy(&told.stdout).into_owned())
    };
    let whole = board(&rows());
    let (fits, told) = check(&whole);
    assert!(fits, "{told}");
    for (place, wrong) in [
        ("/panels/1/gridPos/w", Value::from("4")),
        ("/panels/1/options/colorMode", Value::from("loud")),
        ("/panels/1/fieldConfig/defaults/unit", Value::from(7)),
        ("/refresh", Value::from(30)),
    ] {
        let mut spoiled = whole.clone();
        *spoiled.pointer_mut(place).unwrap() = wrong;
        assert!(!check(&spoiled).0, "{place} of a wrong type was taken");
    }
}

/// A program of TypeScript that is right only if the dashboard is; string enums count as their words.
fn typed(board: &Value) -> String {
    let mut board = board.clone();
    // What a data source of its own asks of an annotation is no part of the types of all.
    for annotation in board["annotations"]["list"].as_array_mut().unwrap() {
        annotation.as_object_mut().unwrap().retain(|name, _| name != "expr" && name != "titleFormat");
    }
    let of_panels = |name: &str| format!("@grafana/schema/dist/esm/raw/composable/{name}");
    let mut text = String::from(
        "import type { Dashboard } from \"@grafana/schema/dist/esm/raw/dashboard/x/Dashboard_types.gen\";\n",
    );
    for (name, path) in [
        ("stat", "stat/panelcfg/x/StatPanelCfg_types.gen"),
        ("timeseries", "timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen"),
        ("bargauge", "bargauge/panelcfg/x/BarGaugePanelCfg_types.gen"),
        ("table", "table/panelcfg/x/TablePanelCfg_types.gen"),
    ] {
        text += &format!("import type * as {name} from \"{}\";\n", of_panels(path));
    }
    text += "type Plain<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;\n";
    text += &format!("export const board: Plain<Dashboard> = {board};\n");
    for (place, panel) in board["panels"].as_array().unwrap().iter().enumerate() {
        let kind = panel["type"].as_str().unwrap();
        if kind == "row" {
            continue;
        }
        text += &format!("export const options{place}: Plain<{kind}.Options> = {};\n", panel["options"]);
        if kind == "timeseries" {
            let custom = &panel["fieldConfig"]["defaults"]["custom"];
            text += &format!("export const custom{place}: Plain<timeseries.FieldConfig> = {custom};\n");
        }
    }
    text
}

/// Every metric a query names exists, and has the labels it is asked by.
#[test]
fn queries_name_only_metrics_and_labels_that_exist() {
    let rules = process::run(&["export", "alerts"]).1;
    let rules =
        rules.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    let rows = rows();
    let panels = rows.iter().flat_map(|row| &row.panels);
    let mut queries: Vec<&str> =
        panels.flat_map(|panel| panel.targets.iter().map(|target| target.query)).collect();
    queries.extend([RELOADS, &rules]);
    let mut named = 0;
    for query in queries {
        for (place, _) in query.match_indices("tercet_") {
            let rest = &query[place..];
            let end = rest
                .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                .unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let row = TABLE.iter().find(|row| match row.kind {
                Kind::Histogram(_) => {
                    ["_bucket", "_sum", "_count"].iter().any(|part| name == format!("{}{part}", row.name))
                }
                _ => name == row.name,
            });
            let row = row.unwrap_or_else(|| panic!("{name} is no metric of ours: {query}"));
            named += 1;
            let Some(selectors) = after.strip_prefix('{').and_then(|after| after.split_once('}')) else {
                continue;
            };
            for selector in selectors.0.split(',') {
                let label = selector.trim().split(['=', '!']).next().unwrap();
                assert!(row.labels.contains(&label), "{name} has no label {label}: {query}");
            }
        }
    }
    assert!(named > 60, "{named}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_s_number_is_the_script_s() {
    let (prometheus, truth) = script::played().await;
    let window = format!("{}ms", (truth.window_s * 1e3).round());
    let mut wrong = Vec::new();
    let mut asked = 0;
    for panel in rows().iter().flat_map(|row| &row.panels) {
        for target in &panel.targets {
            asked += 1;
            let query = target.query.replace("$__rate_interval", &window).replace("$__range", &window);
            let query = query.replace("$interval", &window).replace("$tenant", ".*").replace("$model", ".*");
            let answer = match prometheus.ask(&query, Some(truth.now_s)).await {
                Ok(answer) => answer,
                Err(told) => {
                    wrong.push(format!("{}: {query}: {told}", panel.title));
                    continue;
                }
            };
            let expected = (target.expected)(&truth);
            if !fits(&answer, &expected) {
                wrong.push(format!(
                    "{}: {query}\n  answered {answer:?}\n  expected {expected:?}",
                    panel.title
                ));
            }
            if panel.shape == Shape::Stat {
                assert_eq!(answer.len(), 1, "{} has one number", panel.title);
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {asked} queries:\n{}", wrong.len(), wrong.join("\n"));
}

fn fits(answer: &BTreeMap<String, f64>, expected: &Expected) -> bool {
    let near = |found: f64, wanted: f64| (found - wanted).abs() <= 1e-6 * wanted.abs().max(1e-6);
    match expected {
        Expected::Each(numbers) => {
            answer.iter().all(|(key, found)| near(*found, numbers.get(key).copied().unwrap_or(0.0)))
                && numbers.iter().all(|(key, wanted)| near(*wanted, 0.0) || answer.contains_key(key))
        }
        Expected::Between(ranges) => {
            answer.len() == ranges.len()
                && ranges.iter().all(|(key, (low, high))| {
                    answer.get(key).is_some_and(|found| (*low..=*high).contains(found))
                })
        }
        Expected::Sum(wanted) => near(answer.values().sum(), *wanted),
    }
}
