//! What a run showed: a table for people, a page with plots, JSON for everything else.

pub mod against;
mod compared;
pub mod html;
pub mod numbers;
pub mod scaled;
pub mod soaked;
pub mod svg;

use std::{fs::File, io::Write, path::Path};

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use crate::{cli, compare::Comparison, machine::Machine, micro::Measured};

/// Prints the comparison; writes JSON and page where asked for; compares with `earlier`.
///
/// # Errors
/// Where a file or standard output cannot be written.
pub fn comparison(
    comparison: &Comparison,
    earlier: Option<&Comparison>,
    options: &cli::Compare,
) -> anyhow::Result<()> {
    write_json(comparison, options.common.json.as_deref())?;
    let rows = numbers::of_comparison(comparison);
    write_page(&compared::page(comparison, &rows), options.common.html.as_deref())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\n{}\n", machine(&comparison.machine), compared::method(comparison))?;
    for (kind, how) in &comparison.absent {
        writeln!(out, "{} took no part: {how}\n", kind.name())?;
    }
    for workload in compared::workloads(comparison) {
        writeln!(out, "### {}\n\n{}", workload.title(), compared::table(comparison, workload))?;
        for (kind, why) in comparison.blanks.get(&workload).into_iter().flatten() {
            writeln!(out, "– {}: {why}", kind.name())?;
        }
        writeln!(out)?;
    }
    writeln!(out, "{}", numbers::table(&rows))?;
    if let Some(earlier) = earlier {
        writeln!(out, "\n{}", against::told(&against::changes(earlier, comparison)))?;
    }
    Ok(())
}

/// Writes `what` to `json`, where given.
///
/// # Errors
/// Where that file cannot be written.
pub fn write_json(what: &impl serde::Serialize, json: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = json else { return Ok(()) };
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(serde_json::to_writer_pretty(file, what)?)
}

/// Writes a page to `html`, where given.
///
/// # Errors
/// Where that file cannot be written.
pub fn write_page(page: &html::Page, html: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = html else { return Ok(()) };
    std::fs::write(path, page.render()).with_context(|| format!("cannot write {}", path.display()))
}

/// Two lines on the machine.
#[must_use]
pub fn machine(machine: &Machine) -> String {
    let versions: Vec<_> =
        machine.versions.iter().map(|(name, version)| format!("{name}: {version}")).collect();
    format!(
        "{}, {} cores, Linux {}, load before {:.2}, {}\n{}",
        machine.processor,
        machine.cores,
        machine.kernel,
        machine.load_before,
        machine.date,
        versions.join("; ")
    )
}

/// Prints the single steps; writes JSON where asked for.
///
/// # Errors
/// Where a file or standard output cannot be written.
pub fn micro(measured: &[Measured], json: Option<&Path>) -> anyhow::Result<()> {
    write_json(&measured, json)?;
    let rows = measured
        .iter()
        .map(|one| vec![one.case.clone(), shown(Some(one.nanoseconds), 0), shown(one.instructions, 0)]);
    let table = markdown(&["step", "ns, best", "instructions"], rows.collect());
    Ok(writeln!(std::io::stdout().lock(), "{table}")?)
}

/// A Markdown table with numbers to the right.
#[must_use]
pub fn markdown(header: &[&str], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// KiB as MiB.
#[must_use]
pub fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// A number with `digits` behind the point, or nothing.
#[must_use]
pub fn shown(number: Option<f64>, digits: usize) -> String {
    number.map_or_else(String::new, |n| format!("{n:.digits$}"))
}
