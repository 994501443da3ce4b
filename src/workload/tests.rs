//! What text, form and outcomes make of a request together.

use super::*;

const LOGITS: Logits = Logits { quality: [10_000, 12_000, 20_000], familiar: 40_000, traits: [0; 4] };

fn judged() -> Judged {
    Judged { hinted: None, formed: None, logits: LOGITS }
}

fn fingerprints(system: &str) -> Fingerprints {
    let body = format!(
        r#"{{"model":"m","system":"{system}","messages":[{{"role":"user","content":"Sort these letters."}}]}}"#
    );
    Fingerprints::of(&crate::wire::envelope::read(body.as_bytes()).unwrap(), "client")
}

fn taught(workloads: &Workloads, tenant: &str, scores: [f64; 3], outcomes: usize) {
    for (tier, score) in scores.into_iter().enumerate() {
        for _ in 0..outcomes {
            let outcome = Outcome { tier, score, weight: 1.0 };
            workloads.learn(tenant, &fingerprints("You sort letters."), &LOGITS, outcome);
        }
    }
}

#[test]
fn text_alone_leaves_a_request_as_asked() {
    for quality in [[40_000, 40_000, 40_000], [-30_000, 0, 30_000], [0; 3]] {
        let complexity = weigh(&Judged { logits: Logits { quality, ..LOGITS }, ..judged() }, None);
        assert!(complexity.sufficiency[1] <= 900, "{complexity:?}");
        assert_eq!((complexity.sufficiency[2], complexity.reasons[0].code), (1_000, "text"));
    }
}

#[test]
fn outcomes_send_a_workload_down_and_speak_louder_than_its_form() {
    let (good, bad) = (Workloads::default(), Workloads::default());
    taught(&good, "acme", [1.0, 1.0, 1.0], 20);
    taught(&bad, "acme", [0.2, 0.3, 1.0], 20);
    let known = |workloads: &Workloads| workloads.known("acme", &fingerprints("You sort letters."));
    let down = weigh(&judged(), known(&good).as_ref());
    assert!(down.sufficiency[0] >= 950, "{down:?}");
    assert_eq!(down.reasons[1].code, "workload-exact");
    let formed = Judged { formed: Some(Reason::certain("form-tiny")), ..judged() };
    assert_eq!(weigh(&formed, None).sufficiency[0], 980);
    assert!(weigh(&formed, known(&bad).as_ref()).sufficiency[1] < 800);
    let hinted = Judged { hinted: Some(Reason::certain("hint-title")), ..judged() };
    assert_eq!(weigh(&hinted, known(&bad).as_ref()).sufficiency[0], 980, "the client knows its call");
}

#[test]
fn what_one_tenant_taught_another_does_not_see() {
    let workloads = Workloads::default();
    taught(&workloads, "acme", [1.0; 3], 20);
    assert!(workloads.known("acme", &fingerprints("You sort letters.")).is_some());
    assert!(workloads.known("rival", &fingerprints("You sort letters.")).is_none());
    assert_eq!(workloads.reset("rival"), 0);
    assert!(workloads.reset("acme") > 0);
    assert!(workloads.known("acme", &fingerprints("You sort letters.")).is_none());
}

#[test]
fn a_request_of_a_workload_never_seen_is_not_judged_by_its_client() {
    let workloads = Workloads::default();
    taught(&workloads, "acme", [1.0; 3], 50);
    assert!(workloads.known("acme", &fingerprints("You prove theorems.")).is_none());
}

#[test]
fn turns_that_come_but_once_do_not_crowd_out_what_many_outcomes_taught() {
    let workloads = Workloads::default();
    taught(&workloads, "acme", [1.0; 3], 20);
    for number in 0..5_000 {
        let name: String = format!("{number}").bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
        let once = Outcome { tier: 0, score: 1.0, weight: 1.0 };
        workloads.learn("acme", &fingerprints(&format!("You answer for {name}.")), &LOGITS, once);
    }
    assert!(workloads.known("acme", &fingerprints("You sort letters.")).is_some());
    assert!(workloads.written(None).len() <= 4_096);
}

#[test]
fn a_full_table_forgets_what_was_taught_longest_ago() {
    let workloads = Workloads::default();
    let teach = |word: usize| {
        let name: String = word.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
        let prints = fingerprints(&format!("You answer for {name}."));
        for _ in 0..6 {
            workloads.learn("acme", &prints, &LOGITS, Outcome { tier: 0, score: 1.0, weight: 1.0 });
        }
        prints
    };
    let first = teach(0);
    assert!(workloads.known("acme", &first).is_some());
    let last = (1..2_200).map(teach).last().unwrap();
    assert!(workloads.known("acme", &last).is_some());
    assert!(workloads.known("acme", &first).is_none());
    assert!(workloads.written(None).len() <= 4_096);
}
