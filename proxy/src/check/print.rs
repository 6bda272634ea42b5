//! Printing what was found.

use std::io::{self, IsTerminal as _, Write as _};

use super::{Outcome, Report};

/// The shape of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// One object.
    Json,
    /// The same.
    Yaml,
}

pub(super) fn print(report: &Report, output: Output) -> io::Result<()> {
    let text = match output {
        Output::Table => table(report, io::stdout().is_terminal()),
        Output::Json => serde_json::to_string_pretty(report)? + "\n",
        Output::Yaml => serde_norway::to_string(report).map_err(io::Error::other)?,
    };
    io::stdout().write_all(text.as_bytes())
}

fn table(report: &Report, colours: bool) -> String {
    let mut text = String::new();
    let width = report.findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    for finding in &report.findings {
        let (mark, colour) = match finding.outcome {
            Outcome::Well => ("✓", "32"),
            Outcome::Unknown => ("?", "33"),
            Outcome::Wrong => ("✗", "31"),
        };
        let mark = if colours { format!("\x1b[{colour}m{mark}\x1b[0m") } else { mark.to_owned() };
        text.push_str(&format!("{mark} {:width$}  {}\n", finding.check, finding.found));
        if let Some(next) = &finding.next {
            text.push_str(&format!("  {:width$}  → {next}\n", ""));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::Finding, *};

    #[test]
    fn each_finding_is_a_line_and_what_to_do_another() {
        let findings =
            vec![Finding::well("rules", "as they should be"), Finding::wrong("ipv6", "off", "turn it on")];
        let report = Report { outcome: Outcome::Wrong, findings };
        assert_eq!(
            table(&report, false),
            "✓ rules  as they should be\n✗ ipv6   off\n         → turn it on\n"
        );
        let yaml = serde_norway::to_string(&report).unwrap();
        assert!(yaml.starts_with("outcome: wrong\n") && yaml.contains("next: turn it on"), "{yaml}");
    }
}
