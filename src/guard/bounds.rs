//! Lengths, kinds of content and tools: what of a request needs no look into its texts.

use super::{Finds, Refused, Status};
use crate::config::{Action, Guard, Side};
use crate::wire::envelope::Envelope;
use crate::wire::texts::Texts;

/// Most tools an envelope keeps; a tool behind them is not seen.
const TOOLS_READ: usize = 512;
/// Most kinds that are noted of a request.
const KINDS_NOTED: usize = 256;

/// What a bound found: its name and what to tell.
type Breach = Option<(&'static str, Status, String)>;

/// Asks what bounds one guard sets, each that is passed; the first that refuses ends it.
///
/// # Errors
/// The refusal.
pub(super) fn check(
    guard: &Guard,
    envelope: &Envelope<'_>,
    texts: Option<&Texts<'_>>,
    finds: &mut Finds,
) -> Result<(), Refused> {
    let breaches = [
        body(guard, envelope),
        messages(guard, envelope),
        output_tokens(guard, envelope),
        tools(guard, envelope),
        texts.and_then(|texts| length(guard, texts)),
        texts.and_then(|texts| content(guard, texts)),
    ];
    for (what, status, message) in breaches.into_iter().flatten() {
        finds.add(what, Side::Prompt, guard.action, 1);
        if guard.action == Action::Refuse {
            return Err(Refused { status, message });
        }
    }
    // The size of what upstream fetches itself is not the body's.
    if guard.max_body_bytes.is_some() && envelope.history.remote_sources > 0 {
        finds.add("remote-sources", Side::Prompt, Action::Flag, envelope.history.remote_sources as u64);
    }
    Ok(())
}

/// Tells whether a guard's bounds need the texts.
pub(super) const fn reads(guard: &Guard) -> bool {
    guard.max_text_bytes.is_some() || guard.allow_content.is_some()
}

fn body(guard: &Guard, envelope: &Envelope<'_>) -> Breach {
    let bytes = envelope.body.len() as u64;
    let most = guard.max_body_bytes.filter(|most| bytes > *most)?;
    Some((
        "max-body",
        Status::TooLarge(most),
        format!("the body has {bytes} bytes; this tenant allows {most}"),
    ))
}

fn messages(guard: &Guard, envelope: &Envelope<'_>) -> Breach {
    let count = envelope.history.spans.len() as u64;
    let most = guard.max_messages.filter(|most| count > *most)?;
    let message = format!("messages: {count} messages; this tenant allows {most}");
    Some(("max-messages", Status::Invalid, message))
}

fn output_tokens(guard: &Guard, envelope: &Envelope<'_>) -> Breach {
    let asked = envelope.max_tokens?;
    let most = guard.max_output_tokens.filter(|most| asked > *most)?;
    let message = format!("max_tokens: {asked} > {most}, which is the most this tenant allows");
    Some(("max-output-tokens", Status::Invalid, message))
}

fn length(guard: &Guard, texts: &Texts<'_>) -> Breach {
    let longest = texts.all.iter().map(|text| text.raw.len() as u64).max().unwrap_or(0);
    let most = guard.max_text_bytes.filter(|most| longest > *most)?;
    let message = format!("messages: a text of {longest} bytes; this tenant allows {most} in one text");
    Some(("max-text", Status::Invalid, message))
}

fn tools(guard: &Guard, envelope: &Envelope<'_>) -> Breach {
    if guard.deny_tools.is_empty() && guard.allow_tools.is_none() {
        return None;
    }
    let named = |list: &[String], tool: &crate::wire::envelope::Tool<'_>| {
        list.iter().any(|one| *one == tool.name || *one == tool.kind)
    };
    let refused = |tool: &&crate::wire::envelope::Tool<'_>| {
        named(&guard.deny_tools, tool)
            || guard.allow_tools.as_ref().is_some_and(|allowed| !named(allowed, tool))
    };
    if let Some(tool) = envelope.tool_list.iter().find(refused) {
        let name = if tool.name.is_empty() { &tool.kind } else { &tool.name };
        return Some((
            "tool",
            Status::Forbidden,
            format!("tools: this tenant does not allow the tool `{name}`"),
        ));
    }
    // Servers bring tools that only the upstream sees.
    if guard.allow_tools.is_some() && envelope.other_fields.iter().any(|field| field == "mcp_servers") {
        let message =
            "mcp_servers: this tenant allows tools by name, and nobody here sees a server's".to_owned();
        return Some(("tool", Status::Forbidden, message));
    }
    // The envelope keeps no more, so a denied tool could stand behind the last one read.
    (envelope.tool_list.len() >= TOOLS_READ).then(|| {
        let message = format!("tools: this tenant names its tools, and allows fewer than {TOOLS_READ}");
        ("tool", Status::Forbidden, message)
    })
}

fn content(guard: &Guard, texts: &Texts<'_>) -> Breach {
    let allowed = guard.allow_content.as_ref()?;
    let lists_media = allowed.iter().any(|one| one.contains('/'));
    let is_allowed = |kind: &str| allowed.iter().any(|one| one == kind);
    let blocks = texts.blocks.iter().find(|kind| !is_allowed(kind));
    let media = texts.media.iter().filter(|_| lists_media).find(|kind| !is_allowed(kind));
    let message = match blocks.or(media) {
        Some(kind) => {
            let kind: String = kind.chars().take(KIND_CHARACTERS_SHOWN).collect();
            format!("messages: this tenant does not allow content of type `{kind}`")
        }
        None if texts.blocks.len().max(texts.media.len()) < KINDS_NOTED => return None,
        None => "messages: too many types of content".to_owned(),
    };
    Some(("content", Status::Invalid, message))
}

const KIND_CHARACTERS_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::guard::tests::guard;
    use crate::wire::envelope::{History, Tool};

    fn envelope(
        tools: &[(&'static str, &'static str)],
        messages: usize,
        body: &'static [u8],
    ) -> Envelope<'static> {
        let tool = |(kind, name): &(&'static str, &'static str)| Tool {
            kind: Cow::Borrowed(*kind),
            name: Cow::Borrowed(*name),
            model: Cow::Borrowed(""),
        };
        Envelope {
            body,
            model: Cow::Borrowed("claude-opus-5-5"),
            max_tokens: Some(1_000),
            tool_list: tools.iter().map(tool).collect(),
            history: History { spans: vec![0..0; messages], ..History::default() },
            ..Envelope::default()
        }
    }

    fn bounded() -> Guard {
        Guard {
            max_body_bytes: Some(100),
            max_messages: Some(3),
            max_output_tokens: Some(1_000),
            deny_tools: vec!["bash".into(), "web_search_20250305".into()],
            ..guard(Action::Refuse)
        }
    }

    #[test]
    fn each_bound_refuses_above_and_passes_at_it() {
        let (small, large): (&[u8], &[u8]) = (&[b' '; 100], &[b' '; 101]);
        let search = [("web_search_20250305", "web_search")];
        let table = [
            (envelope(&[("custom", "read")], 3, small), None),
            (envelope(&[], 3, large), Some(Status::TooLarge(100))),
            (envelope(&[], 4, small), Some(Status::Invalid)),
            (Envelope { max_tokens: Some(1_001), ..envelope(&[], 3, small) }, Some(Status::Invalid)),
            (envelope(&[("custom", "read"), ("custom", "bash")], 3, small), Some(Status::Forbidden)),
            (envelope(&search, 3, small), Some(Status::Forbidden)),
            (envelope(&[("custom", "read"); 512], 3, small), Some(Status::Forbidden)),
            (envelope(&[("custom", "bash")], 4, large), Some(Status::TooLarge(100))),
        ];
        for (asked, expected) in table {
            let refused = check(&bounded(), &asked, None, &mut Finds::default()).err();
            assert_eq!(refused.map(|refused| refused.status), expected, "{:?}", asked.tool_list.first());
            let (mut finds, flags) = (Finds::default(), Guard { action: Action::Flag, ..bounded() });
            assert_eq!(check(&flags, &asked, None, &mut finds), Ok(()));
            assert_eq!(finds.is_empty(), expected.is_none());
        }
    }

    #[test]
    fn lists_of_what_is_allowed_allow_nothing_else() {
        let tools = Guard { allow_tools: Some(vec!["read".into()]), ..guard(Action::Refuse) };
        let ask = |asked: &Envelope<'_>| check(&tools, asked, None, &mut Finds::default()).is_ok();
        assert!(ask(&envelope(&[("custom", "read")], 1, b"")));
        assert!(!ask(&envelope(&[("custom", "write")], 1, b"")));
        assert!(!ask(&Envelope { other_fields: vec!["mcp_servers".into()], ..envelope(&[], 1, b"") }));
        let body = br#"{"messages":[{"role":"user","content":[{"type":"text","text":"long text"},
            {"type":"image","source":{"type":"base64","media_type":"image/gif","data":""}}]}]}"#;
        let texts = Texts::of_request(body).unwrap();
        let look =
            |guard: &Guard| check(guard, &Envelope::default(), Some(&texts), &mut Finds::default()).is_ok();
        let allow = |kinds: &[&str]| {
            let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
            Guard { allow_content: Some(kinds), ..guard(Action::Refuse) }
        };
        assert!(look(&allow(&["text", "image"])));
        assert!(!look(&allow(&["text"])));
        assert!(!look(&allow(&["text", "image", "image/png"])));
        assert!(look(&allow(&["text", "image", "image/gif"])));
        assert!(look(&Guard { max_text_bytes: Some(9), ..guard(Action::Refuse) }));
        assert!(!look(&Guard { max_text_bytes: Some(8), ..guard(Action::Refuse) }));
    }

    #[test]
    fn sources_whose_size_no_guard_sees_are_flagged() {
        let mut asked = envelope(&[], 1, b"");
        asked.history.remote_sources = 1;
        let mut finds = Finds::default();
        assert_eq!(check(&bounded(), &asked, None, &mut finds), Ok(()));
        assert_eq!(finds.header(), "flag:remote-sources=1");
    }
}
