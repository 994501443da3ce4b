use super::*;

fn words<'a>(texts: &[Text<'a>]) -> Vec<&'a str> {
    texts.iter().map(|text| text.raw).collect()
}

#[test]
fn a_request_s_texts_are_all_that_somebody_wrote() {
    let body = br#"{"model":"m","metadata":{"user_id":"no"},
        "messages":[
          {"role":"user","content":"one"},
          {"content":[{"type":"thinking","thinking":"no","signature":"no"},{"type":"text","text":"two","citations":[{"cited_text":"three","url":"no"}]},
             {"type":"tool_use","id":"no","name":"no","input":{"id":"four","deep":[{"type":"five"}]}},
             {"type":"web_search_tool_result","content":[{"title":"no","encrypted_content":"no"}]}],"role":"assistant"},
          {"role":"user","content":[{"tool_use_id":"no","content":[{"text":"six","type":"text"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"no"}}],"type":"tool_result"},
             {"type":"document","title":"seven","source":{"type":"text","media_type":"text/plain","data":"eight"}},
             {"type":"document","source":{"type":"url","url":"no"}},
             {"type":"of_the_future","deep":{"words":"nine"}}]}],
        "tools":[{"name":"no","description":"ten","input_schema":{"properties":{"a":{"type":"no","description":"eleven","enum":["twelve"]}},"required":["no"]}}],
        "system":[{"type":"text","text":"thirteen"}]}"#;
    let texts = Texts::of_request(body).unwrap();
    assert_eq!(
        words(&texts.all),
        [
            "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
            "twelve", "thirteen"
        ]
    );
    assert_eq!(words(&texts.all[texts.system.clone()]), ["thirteen"]);
    assert_eq!(words(&texts.all[texts.tools.clone()]), ["ten", "eleven", "twelve"]);
    let turn = |assistant, thinks, texts| Turn { assistant, thinks, texts };
    assert_eq!(texts.turns, [turn(false, false, 0..1), turn(true, true, 1..5), turn(false, false, 5..9)]);
    assert_eq!(texts.unseen, 2);
    assert_eq!(texts.media, ["image/png", "text/plain"]);
    assert!(texts.blocks.iter().any(|kind| kind == "of_the_future"));
    for text in &texts.all {
        assert_eq!(&body[text.span.start + 1..text.span.end - 1], text.raw.as_bytes());
    }
}

#[test]
fn nobody_but_the_model_thinks() {
    let body = br#"{"messages":[{"role":"user","content":[{"type":"thinking","thinking":"one","signature":"no"}]}]}"#;
    let texts = Texts::of_request(body).unwrap();
    assert_eq!((words(&texts.all), texts.turns[0].thinks), (vec!["one"], false));
}

#[test]
fn an_answer_s_thinking_is_only_looked_at() {
    let body = br#"{"id":"no","content":[{"type":"thinking","thinking":"one","signature":"no"},{"type":"text","text":"two"},
        {"type":"code_execution_tool_result","content":{"stdout":"no"}}],"stop_reason":"no"}"#;
    assert_eq!(words(&Texts::of_answer(body, true).unwrap().all), ["one", "two"]);
    assert_eq!(words(&Texts::of_answer(body, false).unwrap().all), ["two"]);
    let error = br#"{"type":"error","error":{"type":"no","message":"one"}}"#;
    assert_eq!(words(&Texts::of_answer(error, false).unwrap().all), ["one"]);
}
