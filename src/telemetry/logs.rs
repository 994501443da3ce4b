//! Log lines: set-up of the subscriber, and the one line per exchange.
//!
//! Lines go to standard error by way of a buffer (`telemetry::sink`), as JSON or as text for people. A value can never break a line or colour a
//! terminal: control characters are escaped in both forms. Levels follow a filter such as
//! `info,tercet=debug`. Bodies, keys and credentials are never given to a log by anyone.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::sink::Sink;
use crate::clock::{self, Clock};
use crate::config::LogFormat;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogProblem {
    /// The filter cannot be read.
    #[error("log filter `{0}` is not of the form `level` or `target=level`, comma-separated")]
    Filter(String),
    /// No thread could be started to write lines.
    #[error("no thread can be started for log lines: {0}")]
    Thread(std::io::Error),
    /// Logging was set up before.
    #[error("logging is set up already")]
    Again,
}

/// Sends the log lines of this process to standard error; an empty `filter` means `info`.
///
/// # Errors
///
/// A filter that cannot be read, or a second call in one process.
pub fn init(format: LogFormat, filter: &str, clock: Clock) -> Result<(), LogProblem> {
    let subscriber = subscriber(format, filter, clock, Sink::start().map_err(LogProblem::Thread)?)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogProblem::Again)
}

/// Writes the line of one ended exchange at level info; `record` is a JSON object.
pub fn log_exchange(record: &str) {
    tracing::info!(target: EXCHANGE, record, "exchange");
}

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    clock: Clock,
    writer: W,
) -> Result<impl Subscriber + Send + Sync, LogProblem>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = if filter.is_empty() { "info" } else { filter };
    let filter = EnvFilter::try_new(filter).map_err(|_| LogProblem::Filter(filter.to_owned()))?;
    let lines = Lines { format, clock };
    Ok(tracing_subscriber::fmt().with_env_filter(filter).event_format(lines).with_writer(writer).finish())
}

struct Lines {
    format: LogFormat,
    clock: Clock,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (level, target) = (level_name(*event.metadata().level()), event.metadata().target());
        let mut time = String::with_capacity(27);
        clock::push_rfc3339(&mut time, self.clock.now(), clock::Precision::Micros);
        if target == EXCHANGE {
            let mut record = Record::default();
            event.record(&mut record);
            return match self.format {
                LogFormat::Json => exchange_json(&mut writer, &time, level, &record.0),
                LogFormat::Text => exchange_text(&mut writer, &time, level, &record.0),
            };
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        match self.format {
            LogFormat::Json => json_line(&mut writer, &time, level, target, &fields.0),
            LogFormat::Text => text_line(&mut writer, &time, level, &fields.0),
        }
    }
}

/// The record of an exchange's event.
#[derive(Default)]
struct Record(String);

impl Visit for Record {
    fn record_debug(&mut self, _field: &Field, _value: &dyn fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "record" {
            value.clone_into(&mut self.0);
        }
    }
}

/// One line of the record as it is: our own serialisation of one object is spliced, not read again.
fn exchange_json(writer: &mut Writer<'_>, time: &str, level: &str, record: &str) -> fmt::Result {
    writer.write_str(r#"{"time":""#)?;
    writer.write_str(time)?;
    writer.write_str(r#"","level":""#)?;
    writer.write_str(level)?;
    writer.write_str(r#"","target":"tercet::exchange","message":"exchange","exchange":"#)?;
    write_json(writer, record)?;
    writer.write_str("}\n")
}

fn exchange_text(writer: &mut Writer<'_>, time: &str, level: &str, record: &str) -> fmt::Result {
    write!(writer, "{time} {level:5} exchange")?;
    let record: Map<String, Value> = serde_json::from_str(record).unwrap_or_default();
    for name in TEXT_FIELDS {
        let Some(value) = record.get(name).filter(|value| !value.is_null()) else { continue };
        write!(writer, " {name}=")?;
        write_text(writer, value)?;
    }
    writer.write_char('\n')
}

/// The fields of an event by name; `message` among them.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

fn json_line(
    writer: &mut Writer<'_>,
    time: &str,
    level: &str,
    target: &str,
    fields: &Map<String, Value>,
) -> fmt::Result {
    write!(writer, r#"{{"time":"{time}","level":"{level}","target":{}"#, Value::from(target))?;
    for (name, value) in fields {
        write!(writer, ",{}:", Value::from(name.as_str()))?;
        write_json(writer, &value.to_string())?;
    }
    writer.write_str("}\n")
}

/// Writes JSON text; serde escapes what ASCII calls control, the rest of what breaks a line is escaped here.
fn write_json(writer: &mut Writer<'_>, json: &str) -> fmt::Result {
    // Nearly every line is plain, which its bytes tell ten times faster than its characters: in vectors, as
    // nothing breaks the loop.
    if json.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~')) {
        return writer.write_str(json);
    }
    let mut rest = json;
    while let Some(at) = rest.find(breaks_a_line) {
        let (before, from) = rest.split_at(at);
        let character = from.chars().next().unwrap_or_default();
        write!(writer, "{before}\\u{:04x}", u32::from(character))?;
        rest = &from[character.len_utf8()..];
    }
    writer.write_str(rest)
}

fn text_line(writer: &mut Writer<'_>, time: &str, level: &str, fields: &Map<String, Value>) -> fmt::Result {
    write!(writer, "{time} {level:5} ")?;
    if let Some(message) = fields.get("message") {
        write_text(writer, message)?;
    }
    for (name, value) in fields.iter().filter(|(name, _)| *name != "message") {
        write!(writer, " {name}=")?;
        write_text(writer, value)?;
    }
    writer.write_char('\n')
}

/// Writes a value in one line: strings bare, with control characters as `\u{..}`.
fn write_text(writer: &mut Writer<'_>, value: &Value) -> fmt::Result {
    let text = if let Value::String(text) = value { text.clone() } else { value.to_string() };
    for character in text.chars() {
        if breaks_a_line(character) {
            write!(writer, "{}", character.escape_unicode())?;
        } else {
            writer.write_char(character)?;
        }
    }
    Ok(())
}

/// Control characters, line and paragraph separators, and the marks that reorder text.
fn breaks_a_line(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

const fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// What a line for people says of an exchange; the JSON form and the journal hold all of it.
const TEXT_FIELDS: [&str; 12] = [
    "status",
    "outcome",
    "tenant",
    "user_id",
    "requested_model",
    "sent_model",
    "cache",
    "tokens_used",
    "cost_nanousd",
    "latency_ms",
    "error_type",
    "request_id",
];
/// The target of exchange lines.
const EXCHANGE: &str = "tercet::exchange";

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(format: LogFormat, filter: &str, log: impl FnOnce()) -> Vec<String> {
        let captured = Captured::default();
        let writer = captured.clone();
        let clock = Clock::manual("2026-11-20T08:00:00.25Z".parse().unwrap());
        let subscriber = subscriber(format, filter, clock, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_exchange_is_one_json_line_with_its_record_inside() {
        let record = json!({"tenant": "a\nb\u{1b}[31m\u{85}\u{2028}", "status": 200, "reasons": ["title"]});
        let lines = lines(LogFormat::Json, "", || log_exchange(&record.to_string()));
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].contains(breaks_a_line));
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["exchange"], record);
        assert_eq!(line["time"], "2026-11-20T08:00:00.250000Z");
        assert_eq!((&line["level"], &line["message"]), (&json!("info"), &json!("exchange")));
    }

    #[test]
    fn no_value_breaks_a_line_of_text() {
        let hostile = "a\r\nlevel=error\u{1b}[2J\u{85}\u{2028}\u{202e}";
        let lines = lines(LogFormat::Text, "", || {
            log_exchange(&json!({"tenant": hostile}).to_string());
            tracing::warn!(name = hostile, wait_ms = 5, "store {hostile}");
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        for line in &lines {
            assert!(!line.contains(breaks_a_line), "{line:?}");
        }
        assert!(lines[1].contains("warn  store a\\u{d}\\u{a}level=error"), "{}", lines[1]);
        assert!(lines[1].contains(" wait_ms=5"));
    }

    #[test]
    fn a_line_for_people_is_short() {
        let record =
            json!({"tenant": "acme", "status": 200, "sent_model": "m", "decision": {"reasons": [1, 2]}});
        let lines = lines(LogFormat::Text, "", || log_exchange(&record.to_string()));
        assert!(lines[0].ends_with(" info  exchange status=200 tenant=acme sent_model=m"), "{lines:?}");
    }

    #[test]
    fn the_filter_decides_and_a_bad_one_is_refused() {
        let quiet = lines(LogFormat::Json, "warn", || {
            log_exchange("{}");
            tracing::info!("hidden");
        });
        assert!(quiet.is_empty());
        let chosen = lines(LogFormat::Json, "error,tercet::exchange=info", || log_exchange("{}"));
        assert_eq!(chosen.len(), 1);
        let problem = subscriber(LogFormat::Json, "=x=y", Clock::default(), io::stderr).err().unwrap();
        assert!(problem.to_string().contains("=x=y"));
    }
}
