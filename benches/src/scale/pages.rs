//! The first page of a long list, chosen by labels, from a control process with an embedded store.

use std::{fmt::Write as _, path::Path, time::Duration};

use anyhow::{Context, ensure};
use http::Method;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

use super::watchers::Times;
use crate::{
    control::{Control, Keeps},
    measure::memory,
    peers::PORT,
    process,
    stage::Stage,
};

/// Objects of a page.
const PAGE: usize = 500;
/// How often each page is asked for.
const TIMES: usize = 50;
/// How long the store may take to be filled.
const FILLED_WITHIN: Duration = Duration::from_secs(120);
/// What stands in the template for what differs: no other text in a backup is like these.
const NAME: &str = "template-of-all";
const TENTH: &str = "label-tenth";
const LOT: &str = "label-lot";
/// Objects that have a lot of their own together.
const OF_A_LOT: usize = 10;

/// One kind of page.
#[derive(Debug, Serialize)]
pub struct Paged {
    /// Sandboxes in the store.
    pub listed: usize,
    /// Which were asked for.
    pub selector: String,
    /// How many of them came.
    pub came: usize,
    /// From the request until the answer is there.
    pub times: Times,
    /// Control's PSS with all of them.
    pub pss_kib: u64,
}

pub(super) async fn measure(stage: &Stage, listed: usize) -> anyhow::Result<Vec<Paged>> {
    let data = tempfile::tempdir_in(stage.dir())?;
    fill(stage, listed, data.path()).await?;
    let program = stage.programs.control.as_ref().context("no bellhop-control")?;
    let control =
        Control::start(&stage.proxy_seat(), program, Keeps::Directory(data.path()), stage.dir()).await?;
    // Control that starts answers once it has read its store.
    control.api().await?.send(Method::GET, "/v1/namespaces/default/sandboxes?limit=1", &Value::Null).await?;
    let mut paged = Vec::new();
    // all; one in ten; ten at the end of the list, so that all others are looked at
    let last = listed.saturating_sub(1) / OF_A_LOT;
    for (selector, came) in [
        (String::new(), listed),
        ("tenth=t3".to_owned(), listed / 10),
        (format!("lot=l{last}"), listed - last * OF_A_LOT),
    ] {
        let mut api = control.api().await?;
        let path = format!("/v1/namespaces/default/sandboxes?limit={PAGE}&labelSelector={selector}");
        let came = came.min(PAGE);
        let mut ms = Vec::new();
        for _ in 0..TIMES {
            let begin = Instant::now();
            let page = api.send(Method::GET, &path, &Value::Null).await?;
            ms.push(begin.elapsed().as_secs_f64() * 1e3);
            let page: Value = serde_json::from_slice(&page)?;
            let items = page.pointer("/items").and_then(Value::as_array).context("no list")?;
            ensure!(items.len() == came, "{} of {came} for {selector:?}", items.len());
        }
        let times = Times::of(ms).context("no times")?;
        let pss_kib = memory::pss_kib(control.process.pid())?;
        paged.push(Paged { listed, selector, came, times, pss_kib });
    }
    Ok(paged)
}

/// Fills a store with copies of one sandbox, by a backup that is put back: writing them one by one would wait for a disk
/// a hundred thousand times.
async fn fill(stage: &Stage, listed: usize, data: &Path) -> anyhow::Result<()> {
    let program = stage.programs.control.as_ref().context("no bellhop-control")?;
    let control = Control::start(&stage.proxy_seat(), program, Keeps::Memory, stage.dir()).await?;
    let mut api = control.api().await?;
    let sandbox = json!({
        "apiVersion": "bellhop.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": NAME, "namespace": "default", "labels": {"tenth": TENTH, "lot": LOT}},
        "spec": {"overrides": [
            {"service": "items", "port": PORT, "endpoints": [stage.ground.sandbox.to_string()]}]},
    });
    api.send(Method::PUT, &format!("/v1/namespaces/default/sandboxes/{NAME}"), &sandbox).await?;
    let backup = api.send(Method::GET, "/v1/backup", &Value::Null).await?;
    let file = stage.dir().join("backup");
    std::fs::write(&file, copies(std::str::from_utf8(&backup)?, listed)?)?;
    let mut command = stage.proxy_seat().command(program);
    command.arg("restore").arg("--data-dir").arg(data).arg(&file);
    process::run(command, FILLED_WITHIN).await?;
    Ok(std::fs::remove_file(&file)?)
}

/// The backup of one sandbox as one of many.
fn copies(backup: &str, count: usize) -> anyhow::Result<String> {
    let (head, lines) = backup.split_once('\n').context("a backup has a first line")?;
    let of_it = |line: &&str| line.contains(NAME);
    let mut others: Vec<_> = lines.lines().filter(|line| !of_it(line)).collect();
    others.pop().context("a backup has a last line")?;
    let template: Vec<_> = lines.lines().filter(of_it).collect();
    ensure!(template.len() == 1, "a sandbox is one record, not {}", template.len());
    let mut text = format!("{head}\n");
    for line in &others {
        writeln!(text, "{line}")?;
    }
    for nth in 0..count {
        for line in &template {
            let line = line.replace(NAME, &format!("sandbox-{nth:07}"));
            let line = line.replace(TENTH, &format!("t{}", nth % 10));
            writeln!(text, "{}", line.replace(LOT, &format!("l{}", nth / OF_A_LOT)))?;
        }
    }
    let (records, sum) = (others.len() + count, xxh3_128(text.as_bytes()));
    writeln!(text, "{}", json!({ "records": records, "xxh3": format!("{sum:032x}") }))?;
    Ok(text)
}
