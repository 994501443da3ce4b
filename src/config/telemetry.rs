//! `[telemetry]`: logs, metrics, and who is told by OTLP.

use http::Uri;
use toml::Spanned;

use super::check::{Check, text};
use super::{clickhouse, schema};

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// JSON lines.
    Json,
    /// For people.
    Text,
}

/// `[telemetry]`
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Default JSON.
    pub log: LogFormat,
    /// Most series of all metrics together; default 20,000.
    pub series_max: usize,
    /// Whether durations carry the traces they were of, for who scrapes OpenMetrics; default no.
    pub exemplars: bool,
    /// Who is told by OTLP; nobody by default, and in builds without the feature `otlp`.
    pub otlp: Option<Otlp>,
}

/// An OTLP receiver, and in which names it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otlp {
    /// Its HTTP interface.
    pub url: Uri,
    /// Whether the newest GenAI names are used: where `OTEL_SEMCONV_STABILITY_OPT_IN` lists
    /// `gen_ai_latest_experimental`, as the conventions have it.
    pub latest: bool,
}

/// Gives the section its meaning.
pub(super) fn telemetry(check: &mut Check<'_>, file: &schema::Telemetry) -> Telemetry {
    Telemetry {
        log: text(file.log.as_ref(), LogFormat::Json),
        series_max: check.size(file.series_max.as_ref(), 20_000),
        exemplars: file.exemplars.unwrap_or(false),
        otlp: otlp(check, file.otlp.as_ref()),
    }
}

/// The address of a receiver, which this build has to know how to talk to.
fn otlp(check: &mut Check<'_>, given: Option<&Spanned<String>>) -> Option<Otlp> {
    let given = given?;
    let Some(url) = clickhouse::bare_address(given.get_ref()) else {
        check.report(
            given.span(),
            "not the address of an OTLP receiver\nhttp:// or https:// with a host, such as http://localhost:4318",
        );
        return None;
    };
    if !cfg!(feature = "otlp") {
        check.report(
            given.span(),
            "this build sends nothing by OTLP\nbuild it with `--features otlp`, or remove it",
        );
    }
    let chosen = (check.surroundings.environment)(OPT_IN).unwrap_or_default();
    Some(Otlp { url, latest: chosen.split(',').any(|one| one.trim() == LATEST) })
}

const OPT_IN: &str = "OTEL_SEMCONV_STABILITY_OPT_IN";
const LATEST: &str = "gen_ai_latest_experimental";

#[cfg(all(test, feature = "otlp"))]
mod tests {
    use crate::config::parse;

    #[test]
    fn the_newest_names_are_chosen_as_the_conventions_say() {
        for (chosen, latest) in [
            (None, false),
            (Some("http"), false),
            (Some("gen_ai_latest_experimental"), true),
            (Some("http/dup, gen_ai_latest_experimental"), true),
        ] {
            let environment = |name: &str| chosen.filter(|_| name == super::OPT_IN).map(str::to_owned);
            let config =
                parse("[telemetry]\notlp = \"http://localhost:4318\"\n", None, &environment).unwrap();
            assert_eq!(config.telemetry.otlp.unwrap().latest, latest, "{chosen:?}");
        }
    }
}
