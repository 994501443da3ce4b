//! The house's floors, sizes and papers, checked as the documents promise them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every top-level module and its floor; a module imports from strictly lower floors.
const FLOORS: &[(&str, u8)] = &[
    ("money", 0),
    ("aside", 0),
    ("clock", 0),
    ("id", 0),
    ("secret", 0),
    ("tier", 0),
    ("usage", 0),
    ("wire", 1),
    ("catalog", 1),
    ("config", 1),
    ("upstream", 2),
    ("journal", 2),
    ("content", 2),
    ("store", 2),
    ("telemetry", 2),
    ("tenant", 3),
    ("classify", 3),
    ("route", 3),
    ("limit", 3),
    ("budget", 3),
    ("guard", 3),
    ("cache", 3),
    ("workload", 3),
    ("sample", 3),
    ("view", 3),
    ("pipeline", 4),
    ("server", 5),
    ("admin", 5),
    ("gateway", 6),
    ("cli", 7),
];

/// Tables of data that may be longer than a file of code, each with its reason.
const LONG_TABLES: &[(&str, &str)] = &[];

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const BANNED_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "manager", "service"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_under(folder: &str, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "no .{extension} file under {folder}");
    found.sort();
    found
}

fn module_of(file: &str) -> &str {
    let inside = file.strip_prefix("src/").unwrap();
    inside.split('/').next().unwrap().trim_end_matches(".rs")
}

/// Names after `crate::` in code, comments left out.
fn imports(source: &str) -> Vec<String> {
    let code =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(list) = rest.strip_prefix('{') {
            let list = &list[..list.find("};").unwrap_or(list.len())];
            let mut depth = 0_i32;
            let mut name = String::new();
            for character in list.chars() {
                match character {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => names.push(std::mem::take(&mut name)),
                    character if depth == 0 && !character.is_whitespace() => name.push(character),
                    _ => {}
                }
            }
            names.push(name);
        } else {
            names.push(rest.to_owned());
        }
    }
    names
        .iter()
        .map(|name| name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn every_module_imports_from_lower_floors_only() {
    let floors: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    let mut breaches = Vec::new();
    for (file, source) in files_under("src", "rs") {
        let module = module_of(&file);
        if matches!(module, "lib" | "main") {
            continue;
        }
        for import in imports(&source) {
            let allowed = import == module
                || match (floors.get(module), floors.get(import.as_str())) {
                    (Some(own), Some(other)) => other < own,
                    (None, _) => false,
                    (Some(own), None) => import == "simulated" && *own == 7,
                };
            if !allowed {
                breaches.push(format!("{file} imports crate::{import}"));
            }
        }
    }
    assert!(breaches.is_empty(), "imports that climb or stay on a floor:\n{}", breaches.join("\n"));
}

#[test]
fn every_module_stands_on_a_floor() {
    let known = |name: &str| name == "simulated" || FLOORS.iter().any(|(module, _)| *module == name);
    for (file, _) in files_under("src", "rs") {
        let module = module_of(&file);
        assert!(matches!(module, "lib" | "main") || known(module), "{file}: give `{module}` a floor");
    }
}

#[test]
fn no_file_is_longer_than_a_newcomer_can_hold() {
    let mut long = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for (file, source) in files_under(folder, "rs") {
            let lines = source.lines().count();
            if lines > FILE_LINES_MAX && !LONG_TABLES.iter().any(|(name, _)| *name == file) {
                long.push(format!("{file}: {lines} lines"));
            }
        }
    }
    assert!(long.is_empty(), "files over {FILE_LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let mut long = Vec::new();
    for (file, source) in files_under("src", "rs") {
        let mut open: Option<(usize, usize, String)> = None;
        for (number, line) in source.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let text = line.trim_start();
            let starts = [
                "fn ",
                "pub fn ",
                "async fn ",
                "pub async fn ",
                "pub(crate) fn ",
                "const fn ",
                "pub const fn ",
            ];
            let has_lines = !text.ends_with(['}', ';']);
            if open.is_none() && starts.iter().any(|start| text.starts_with(start)) && has_lines {
                open = Some((number, indent, text.to_owned()));
            }
            if let Some((start, depth, name)) = &open
                && number > *start
                && indent == *depth
                && text == "}"
            {
                if number - start + 1 > FUNCTION_LINES_MAX {
                    long.push(format!("{file}:{} {name}", start + 1));
                }
                open = None;
            }
        }
    }
    assert!(long.is_empty(), "functions over {FUNCTION_LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn no_module_is_a_drawer_for_anything() {
    for (file, _) in files_under("src", "rs") {
        let stem = Path::new(&file).file_stem().unwrap().to_string_lossy().into_owned();
        let parts: Vec<&str> = file.split('/').collect();
        for banned in BANNED_NAMES {
            assert!(stem != banned && !parts.contains(&banned), "{file}: name it by what it decides");
        }
    }
}

#[test]
fn nothing_unfinished_or_switched_off_is_left() {
    let marks = [
        "todo!(",
        "unimplemented!(",
        concat!("#[ign", "ore"),
        concat!("FIX", "ME"),
        concat!("assert!(", "true"),
    ];
    for folder in ["src", "tests", "benches"] {
        for (file, source) in files_under(folder, "rs") {
            for mark in marks.iter().filter(|_| file != "tests/house.rs") {
                assert!(!source.contains(mark), "{file} holds {mark}");
            }
        }
    }
}

#[test]
fn the_simulated_upstream_shares_nothing_with_the_gateway() {
    for (file, source) in files_under("src/simulated", "rs") {
        for import in imports(&source) {
            assert_eq!(import, "simulated", "{file}: one misreading must not hide in both");
        }
    }
}

/// Words in backquotes that look like a path of this repository.
fn paths_in(document: &str) -> Vec<String> {
    let tops = ["src/", "tests/", "benches/", "config/", "docs/", "deploy/", "scripts/", "fuzz/", ".ci/"];
    document
        .split('`')
        .skip(1)
        .step_by(2)
        .chain(document.split("](").skip(1).filter_map(|rest| rest.split(')').next()))
        .filter(|word| tops.iter().any(|top| word.starts_with(top)) && !word.contains([' ', '*', '<']))
        .map(|word| word.split('#').next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_path_the_documents_name_exists() {
    let mut documents = files_under("docs", "md");
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"] {
        documents.push((name.to_owned(), fs::read_to_string(root().join(name)).unwrap()));
    }
    let mut missing = Vec::new();
    for (document, text) in documents {
        for path in paths_in(&text) {
            if !root().join(&path).exists() {
                missing.push(format!("{document}: {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "paths that do not exist:\n{}", missing.join("\n"));
}

#[test]
fn every_make_target_the_documents_name_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let document = fs::read_to_string(root().join(name)).unwrap();
        for word in document.split('`').skip(1).step_by(2) {
            if let Some(target) = word.strip_prefix("make ").filter(|target| !target.contains(' ')) {
                let rule = format!("\n{target}:");
                assert!(makefile.contains(&rule), "{name} names `make {target}`");
            }
        }
    }
}

/// The fenced blocks of a document in one language, each with the line it begins on.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<(usize, &'a str)> {
    let (fence, mut found, mut at) = (format!("```{language}\n"), Vec::new(), 0);
    while let Some(start) = document[at..].find(&fence) {
        let begin = at + start + fence.len();
        let length = document[begin..].find("```").unwrap_or_else(|| panic!("a block that never ends"));
        found.push((document[..begin].lines().count() + 1, &document[begin..begin + length]));
        at = begin + length + 3;
    }
    found
}

#[test]
fn every_configuration_in_the_documents_is_valid() {
    let mut documents = files_under("docs", "md");
    documents.push(("README.md".to_owned(), fs::read_to_string(root().join("README.md")).unwrap()));
    let environment = |name: &str| Some(format!("secret-of-{name}"));
    let mut checked = 0;
    for (document, text) in &documents {
        for (line, block) in blocks(text, "toml") {
            checked += 1;
            if let Err(problems) = tercet::config::parse(block, None, &environment) {
                let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
                panic!("{document}:{line} is refused:\n{}", told.join("\n"));
            }
        }
    }
    assert!(checked >= 2, "only {checked} configurations were found");
}

/// What `tercet ARGUMENTS --help` says, or `None` where there is no such verb.
fn help(arguments: &[&str]) -> Option<String> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tercet"));
    let output = command.args(arguments).arg("--help").output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Every command of ours in a document: in backquotes, or as an indented line.
fn commands(document: &str) -> Vec<Vec<&str>> {
    let quoted = document.split('`').skip(1).step_by(2);
    let indented = document.lines().filter(|line| line.starts_with("    "));
    quoted
        .chain(indented)
        .filter_map(|text| {
            let text = text.trim().trim_start_matches("./target/release/");
            let text = text.split(" #").next().unwrap_or(text);
            Some(text.strip_prefix("tercet ")?.split_whitespace().collect())
        })
        .collect()
}

#[test]
fn every_command_the_documents_name_exists() {
    let mut checked = 0;
    for name in ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md", "docs/operations.md"] {
        let document = fs::read_to_string(root().join(name)).unwrap();
        for words in commands(&document) {
            checked += 1;
            // A table of verbs, `a | b`, names each of them.
            let verbs: Vec<&str> =
                words.split(|word| *word == "|").filter_map(|part| part.first().copied()).collect();
            let two = words.get(1).filter(|word| word.chars().all(|letter| letter.is_ascii_lowercase()));
            for verb in &verbs {
                assert!(help(&[verb]).is_some(), "{name} names `tercet {verb}`");
            }
            let path: Vec<&str> = match two {
                Some(second) if matches!(words[0], "keys" | "audit" | "prices" | "content") => {
                    vec![words[0], *second]
                }
                _ => vec![words[0]],
            };
            let told = help(&path).unwrap_or_else(|| panic!("{name} names `tercet {}`", path.join(" ")));
            for option in words.iter().filter(|word| word.starts_with("--")) {
                assert!(
                    told.contains(option),
                    "{name} gives `tercet {}` the option {option}",
                    path.join(" ")
                );
            }
        }
    }
    assert!(checked >= 10, "only {checked} commands were found");
}
