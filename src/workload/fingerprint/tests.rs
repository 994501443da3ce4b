//! That volatile text does not split a workload, and that different work does.

use super::*;

fn system(text: &str) -> Fingerprints {
    let system = serde_json::to_string(text).unwrap();
    let body = format!(r#"{{"model":"m","system":{system},"messages":[{{"role":"user","content":"hi"}}]}}"#);
    Fingerprints::of(&crate::wire::envelope::read(body.as_bytes()).unwrap(), "client")
}

#[test]
fn volatile_text_does_not_split_a_workload() {
    let one = system(
        "You review code. Today is 2026-03-04T10:00:00Z, Monday, March 4th. Working directory: /home/ann/app.\n\
         Request 0cc175b9c0f1b6a831c399e269772661, session 3f2504e0-4f89-11d3-9a0c-0305e82c3301, turn 7 of 12.\n\
         Commit 9fceb02 by ann@example.com, file main.rs at 10:41. Keep to the facts.\n\
         gitStatus: branch main, M README, recent commits: fix the build",
    );
    let other = system(
        "You review code. Today is 2027-11-26T23:59:59Z, Friday, Nov 26th. Working directory: C:\\Users\\bob\\x.\n\
         Request 92eb5ffee6ae2fec3ad71c777531578f, session 6fa459ea-ee8a-3ca4-894e-db77e160355e, turn 113 of 900.\n\
         Commit 1a2b3c4 by bob@example.org, file lib.py at 9:05. Keep to the facts.\n\
         gitStatus: branch topic, clean",
    );
    assert_eq!(one, other);
    assert_ne!(one, system("You review law. Today is 2026-03-04. Keep to the facts."));
}

#[test]
fn cache_markers_and_blocks_say_nothing() {
    let read = |system: &str| {
        let body = format!(r#"{{"model":"m","system":{system},"messages":[]}}"#);
        Fingerprints::of(&crate::wire::envelope::read(body.as_bytes()).unwrap(), "client")
    };
    let plain = read(r#""You sort letters.""#);
    assert_eq!(plain, read(r#"[{"type":"text","text":"You sort letters."}]"#));
    let marked = r#"[{"type":"text","text":"You sort letters.","cache_control":{"type":"ephemeral"}}]"#;
    assert_eq!(plain, read(marked));
}

#[test]
fn tools_and_clients_tell_workloads_apart_and_versions_of_a_body_do_not() {
    let read = |tools: &str, client: &str| {
        let body = format!(
            r#"{{"model":"m","system":"You help.","tools":{tools},"messages":[{{"role":"user","content":"hi"}}]}}"#
        );
        Fingerprints::of(&crate::wire::envelope::read(body.as_bytes()).unwrap(), client)
    };
    let (weather, mail) =
        (r#"[{"name":"weather","input_schema":{}}]"#, r#"[{"name":"mail","input_schema":{}}]"#);
    let (one, other) = (read(weather, "client"), read(mail, "client"));
    let of = |prints: &Fingerprints, level| prints.levels().find(|(found, _)| *found == level).unwrap().1;
    assert_ne!(of(&one, Level::Exact), of(&other, Level::Exact));
    assert_eq!(of(&one, Level::System), of(&other, Level::System), "the wider level holds both");
    assert_ne!(read(weather, "client"), read(weather, "another"));
    let described = r#"[{"name":"weather","description":"v2","input_schema":{}}]"#;
    assert_eq!(one, read(described, "client"));
}

#[test]
fn the_frame_of_a_turn_is_its_first_and_last_line() {
    let template = |text: &str| {
        let content = serde_json::to_string(text).unwrap();
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":{content}}}]}}"#);
        let prints = Fingerprints::of(&crate::wire::envelope::read(body.as_bytes()).unwrap(), "");
        prints.levels().find(|(level, _)| *level == Level::Template).map(|(_, hash)| hash)
    };
    let one = template("Classify ticket 17:\nMy order is late.\nAnswer with one word.");
    assert_eq!(one, template("Classify ticket 9:\nThe door squeaks\nand leaks.\nAnswer with one word."));
    assert_ne!(one, template("Translate this:\nMy order is late.\nAnswer with one word."));
    assert_eq!(template("One line alone."), None);
}

proptest::proptest! {
    /// Whatever stands for the date, the hour, the folder, the request, the commit and the counters of a system prompt.
    #[test]
    fn no_volatile_text_splits_a_workload(
        (year, month, day) in (2_000u32..2_100, 0usize..12, 1u32..32),
        (hour, minute, second) in (0u32..24, 0u32..60, 0u32..60),
        (user, folder) in ("[a-z]{1,8}", "[a-z][a-z0-9._-]{0,12}"),
        request in "[0-9a-f]{32}",
        session in "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        commit in "[0-9a-f]{6}[0-9]",
        (turn, tokens) in (0u64..10_000, 0u64..10_000_000),
        status in "(M|A|\\?\\?) [a-z/]{1,30}\n[a-z ]{0,60}",
    ) {
        let name = DATES[month];
        let prompt = |date: &str, path: &str, request: &str, numbers: &str, status: &str| system(&format!(
            "You review code. Today is {date}. Working directory: {path}\nRequest {request}.\nUsed {numbers}. \
             Keep to the facts.\ngitStatus: {status}"
        ));
        let steady = prompt("2026-03-04", "/home/a/b", "0cc175b9c0f1b6a831c399e269772661", "1 of 2 at 9fceb02", "clean");
        let dates = [
            format!("{year}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1),
            format!("{name} {day}, {year}"),
            format!("{day:02}.{:02}.{year} {hour}:{minute:02}", month + 1),
            format!("{day} {} {year}", &name[..3]),
        ];
        let paths = [format!("/home/{user}/{folder}"), format!("C:\\\\{user}\\\\{folder}"), format!("~/{folder}")];
        for (place, date) in dates.iter().enumerate() {
            let path = &paths[place % paths.len()];
            let asked = if place % 2 == 0 { &request } else { &session };
            let numbers = format!("{turn} of {tokens} at {commit}");
            proptest::prop_assert_eq!(prompt(date, path, asked, &numbers, &status), steady);
        }
    }


    #[test]
    fn any_system_prompt_has_a_fingerprint_and_always_the_same(text in ".{0,8000}") {
        proptest::prop_assert_eq!(system(&text), system(&text));
    }
}
