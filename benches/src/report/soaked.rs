//! The soak as tables and as a page.

use std::io::Write;

use super::{
    html::{Page, Section},
    machine, markdown, mib, shown,
    svg::{Line, lines},
    write_json, write_page,
};
use crate::{cli, soak::Soak};

/// Prints what a soak saw; writes JSON and page where asked for.
///
/// # Errors
/// Where a file or standard output cannot be written.
pub fn soak(soak: &Soak, leaks: &[String], common: &cli::Common) -> anyhow::Result<()> {
    write_json(soak, common.json.as_deref())?;
    write_page(&page(soak, leaks), common.html.as_deref())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\n\n{}\n", machine(&soak.machine), summary(soak))?;
    writeln!(out, "{}\n", markdown(&TRAFFIC, traffic(soak)))?;
    for (traffic, failure, failures) in &soak.failed {
        writeln!(out, "{} {failure:?}: {}, the first: {}", traffic.name(), failures.count, failures.example)?;
    }
    writeln!(out, "{}\n", markdown(&VITALS, vitals(soak)))?;
    for leak in leaks {
        writeln!(out, "LEAK {leak}")?;
    }
    Ok(())
}

const TRAFFIC: [&str; 4] = ["traffic", "went well", "asked again", "failed"];
const VITALS: [&str; 7] = [
    "proxy",
    "PSS MiB, median",
    "lowest",
    "highest",
    "growth KiB/min",
    "descriptors, most",
    "before → after",
];

fn summary(soak: &Soak) -> String {
    let changes = &soak.changes;
    format!(
        "{:.1} minutes; meanwhile {} changes of routes, {} endpoints replaced, {} restarts of control, {} proxies replaced",
        soak.minutes, changes.routes, changes.endpoints, changes.control_restarts, changes.proxy_restarts
    )
}

fn traffic(soak: &Soak) -> Vec<Vec<String>> {
    let failed = |traffic| {
        let of_it = soak.failed.iter().filter(|(failed, _, _)| *failed == traffic);
        of_it.map(|(_, _, failures)| failures.count).sum::<u64>()
    };
    let row = |(traffic, well): (&_, &u64)| {
        let again = soak.again.get(traffic).copied().unwrap_or_default();
        vec![traffic.name().to_owned(), well.to_string(), again.to_string(), failed(*traffic).to_string()]
    };
    soak.well.iter().map(row).collect()
}

fn vitals(soak: &Soak) -> Vec<Vec<String>> {
    let row = |vitals: &crate::soak::Vitals| {
        let pss = vitals.pss_kib();
        let most = vitals.looks.iter().map(|look| look.descriptors).max().unwrap_or_default();
        let after = vitals.descriptors_after.map_or_else(|| "–".to_owned(), |after| after.to_string());
        vec![
            vitals.name.clone(),
            shown(pss.map(|pss| pss.median / 1024.0), 1),
            shown(pss.map(|pss| pss.low / 1024.0), 1),
            shown(pss.map(|pss| pss.high / 1024.0), 1),
            shown(vitals.growth_kib_per_minute(), 1),
            most.to_string(),
            format!("{} → {after}", vitals.descriptors_before),
        ]
    };
    soak.vitals.iter().map(row).collect()
}

fn page(soak: &Soak, leaks: &[String]) -> Page {
    let mut page = Page::new("Bellhop under all of it at once", &machine(&soak.machine));
    page.note(&summary(soak));
    let mut section = Section::new("Traffic");
    section.table(TRAFFIC.map(str::to_owned).into(), traffic(soak));
    for (traffic, failure, failures) in &soak.failed {
        section.note(&format!(
            "{} {failure:?}: {}, the first: {}",
            traffic.name(),
            failures.count,
            failures.example
        ));
    }
    page.section(section);
    let line = |vitals: &crate::soak::Vitals, value: fn(&crate::soak::Look) -> f64| Line {
        label: vitals.name.trim_start_matches("bellhop-").to_owned(),
        points: vitals.looks.iter().map(|look| (look.seconds / 60.0, value(look))).collect(),
    };
    let plot =
        |value| lines(&soak.vitals.iter().map(|vitals| line(vitals, value)).collect::<Vec<_>>(), false);
    let mut section = Section::new("Proxies that ran all the time");
    section.plots([
        ("PSS in MiB, by minutes", plot(|look| mib(look.pss_kib))),
        ("Descriptors, by minutes", plot(|look| look.descriptors as f64)),
    ]);
    section.table(VITALS.map(str::to_owned).into(), vitals(soak));
    for leak in leaks {
        section.note(&format!("LEAK {leak}"));
    }
    page.section(section);
    page
}
