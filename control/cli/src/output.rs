//! Prints results: tables for people, JSON and YAML for programs.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::OnceLock,
};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::Value;

use crate::{
    args::{Format, When},
    exit::Failure,
};

/// A table without lines: a head, and rows of as many cells.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().copied());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Prints `object` as `format` says; `people` makes the text for people, told whether it may be wide.
///
/// # Errors
/// When the object cannot be written as JSON or YAML.
pub(crate) fn print<T: Serialize>(
    format: Format,
    object: &T,
    people: impl FnOnce(bool) -> String,
) -> Result<(), Failure> {
    let cannot = |why: String| Failure::Refused(format!("cannot be printed: {why}"));
    match format {
        Format::Table | Format::Wide => line(&people(format == Format::Wide)),
        Format::Json => line(&serde_json::to_string_pretty(object).map_err(|why| cannot(why.to_string()))?),
        Format::Yaml => {
            // by way of JSON, so that both have one shape: YAML would mark an enum's variants with tags
            let object = serde_json::to_value(object).map_err(|why| cannot(why.to_string()))?;
            line(serde_norway::to_string(&object).map_err(|why| cannot(why.to_string()))?.trim_end());
        }
    }
    Ok(())
}

/// Prints one of many documents as they come: JSON a line each, YAML behind a line of its own.
///
/// # Errors
/// When it cannot be written as YAML.
pub(crate) fn document(format: Format, object: &Value) -> Result<(), Failure> {
    if format == Format::Json {
        line(&object.to_string());
        return Ok(());
    }
    line("---");
    print(Format::Yaml, object, |_| String::new())
}

/// The word that stands for a value in JSON.
pub(crate) fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        other => other.map(|value| value.to_string()).unwrap_or_default(),
    }
}

/// Why nothing can be printed any more.
static ENDED: OnceLock<io::Error> = OnceLock::new();

/// Prints a text and ends its line. Where nobody reads any more (`bellhop … | head`) it is dropped, and what the command
/// was told to do is done nevertheless.
pub(crate) fn line(text: &str) {
    if ended() {
        return;
    }
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        // a second one would say the same
        ENDED.set(error).ok();
    }
}

/// Says on standard error what a reader of the result should know.
pub(crate) fn note(text: &str) {
    // nobody is left to tell where even this cannot be printed
    writeln!(std::io::stderr(), "bellhop: {text}").ok();
}

/// Whether nothing can be printed any more: a command that does nothing but print may end.
pub(crate) fn ended() -> bool {
    ENDED.get().is_some()
}

/// What kept a result from being printed; a reader that has left is no fault.
pub(crate) fn fault() -> Option<&'static io::Error> {
    ENDED.get().filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
}

/// ANSI styles, or nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Colours where `when` says so; `auto`: on a terminal, unless `NO_COLOR` is set.
    pub(crate) fn new(when: When) -> Self {
        Self(match when {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stdout().is_terminal()
            }
        })
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// What stands out.
    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// What stands back.
    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// A sandbox.
    pub(crate) fn sandbox(self, text: &str) -> String {
        self.with("32;1", text)
    }

    /// A failure.
    pub(crate) fn failure(self, text: &str) -> String {
        self.with("31;1", text)
    }
}
