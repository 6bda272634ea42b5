//! Single steps of a request, measured alone: by time (`cargo bench -p bellhop-bench`, divan), and by instructions, which
//! no noise of a shared machine changes (`bellhop-bench micro --instructions`, callgrind).
//!
//! Instructions for each operation are the difference of two runs that differ in their number of operations alone, so
//! whatever happens at the start and the end counts for nothing.

use std::{
    hint::black_box,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use bellhop_api::watch::Unit;
use bellhop_route::{Carriers, Keys, Place, RouteTable, Verdict, decide};
use serde::Serialize;
use tokio::process::Command;

use crate::{
    cli,
    peers::KEY,
    process::{find, run as run_command},
    report, routes,
    workload::fields,
};

/// Routes of the table that decisions and puts work on.
const ROUTES: usize = 1_000;
const ENDPOINT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)), 8080);
/// Operations of the two runs whose difference counts.
const FEW: u64 = 1_000;
const MANY: u64 = 11_000;
/// Operations timed at once, and how often.
const TIMED: u64 = 20_000;
const TIMES: usize = 9;
/// callgrind is some fifty times slower.
const VALGRIND_DEADLINE: Duration = Duration::from_secs(120);

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// The carriers of a request with a key among other baggage.
    BaggageKeyed,
    /// The same without a key.
    BaggageUnkeyed,
    /// 64 members, the key last.
    BaggageLong,
    /// A key that has a route.
    DecideRoute,
    /// A key that nobody knows.
    DecideUnknown,
    /// No key.
    DecideNoKey,
    /// A key's routes replaced in the table.
    Put,
    /// A unit of the watch read from its JSON.
    ReadUnit,
}

/// What a case works on.
#[derive(Debug)]
pub struct Bed {
    case: Case,
    carriers: Carriers,
    head: Vec<(Vec<u8>, Vec<u8>)>,
    table: RouteTable,
    keys: Keys,
    unit: Unit,
    text: String,
    destination: bellhop_route::Destination,
}

impl Case {
    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// All that it works on.
    ///
    /// # Errors
    /// Where a made-up route is none.
    pub fn bed(self) -> anyhow::Result<Bed> {
        let mut head: Vec<(Vec<u8>, Vec<u8>)> = fields(self != Self::BaggageUnkeyed)
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        if let (Self::BaggageLong, Some((_, baggage))) = (self, head.last_mut()) {
            let members: Vec<_> = (0..63).map(|n| format!("member-{n}=value-of-{n}")).collect();
            *baggage = format!("{},routing-key={KEY}", members.join(",")).into_bytes();
        }
        let keys: &[&str] = match self {
            Self::DecideUnknown => &["nobody-knows-this"],
            Self::DecideNoKey => &[],
            _ => &[KEY],
        };
        let unit = routes::unit(KEY, ENDPOINT)?;
        Ok(Bed {
            case: self,
            carriers: Carriers::default(),
            head,
            table: routes::table(ROUTES, ENDPOINT)?,
            keys: keys.iter().collect(),
            text: serde_json::to_string(&unit)?,
            unit,
            destination: routes::DESTINATION.parse()?,
        })
    }
}

impl Bed {
    /// The step, once; something that depends on all of it.
    ///
    /// # Errors
    /// Where the step fails, which it must not.
    #[inline(never)]
    pub fn once(&self) -> anyhow::Result<usize> {
        Ok(match self.case {
            Case::BaggageKeyed | Case::BaggageUnkeyed | Case::BaggageLong => {
                self.carriers.read(black_box(self.head.as_slice())).len()
            }
            Case::DecideRoute | Case::DecideUnknown | Case::DecideNoKey => {
                let place = Place::Named(&self.destination);
                let none = std::iter::empty::<&[u8]>();
                let decision = decide(&self.table, black_box(&self.keys), &place, none);
                usize::from(matches!(decision.verdict, Verdict::Sandbox(_)))
            }
            Case::Put => {
                self.table.put(black_box(&self.unit))?;
                self.table.len()
            }
            Case::ReadUnit => {
                let unit: Unit = serde_json::from_str(black_box(&self.text))?;
                usize::from(unit == self.unit)
            }
        })
    }

    /// The step so many times.
    ///
    /// # Errors
    /// As [`Self::once`].
    pub fn times(&self, operations: u64) -> anyhow::Result<usize> {
        (0..operations).try_fold(0_usize, |sum, _| Ok(sum.wrapping_add(self.once()?)))
    }

    fn nanoseconds(&self) -> anyhow::Result<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..TIMES {
            let begin = Instant::now();
            black_box(self.times(TIMED)?);
            best = best.min(begin.elapsed().as_secs_f64() * 1e9 / TIMED as f64);
        }
        Ok(best)
    }
}

/// One case's figures.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Which.
    pub case: String,
    /// Nanoseconds for each operation, the best of several.
    pub nanoseconds: f64,
    /// Instructions for each operation.
    pub instructions: Option<f64>,
}

/// Measures and reports.
///
/// # Errors
/// Where valgrind is asked for and missing, or a case fails.
pub async fn run(options: cli::Micro) -> anyhow::Result<()> {
    if let Some(operations) = options.only_run {
        let [case] = options.cases.as_slice() else { bail!("--only-run takes one case") };
        black_box(case.bed()?.times(operations)?);
        return Ok(());
    }
    let all = <Case as clap::ValueEnum>::value_variants();
    let cases = if options.cases.is_empty() { all } else { &options.cases };
    let mut measured = Vec::new();
    for case in cases {
        let instructions = if options.instructions { Some(instructions(*case).await?) } else { None };
        measured.push(Measured { case: case.name(), nanoseconds: case.bed()?.nanoseconds()?, instructions });
    }
    report::micro(&measured, options.json.as_deref())
}

async fn instructions(case: Case) -> anyhow::Result<f64> {
    let few = counted(case, FEW).await?;
    let many = counted(case, MANY).await?;
    ensure!(many > few, "{}: callgrind counted {few} and {many}", case.name());
    Ok((many - few) as f64 / (MANY - FEW) as f64)
}

async fn counted(case: Case, operations: u64) -> anyhow::Result<u64> {
    let valgrind = find("valgrind")
        .context("valgrind is missing: apt-get install -y --no-install-recommends valgrind")?;
    let mut command = Command::new(valgrind);
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    command.args(["micro", "--only-run", &operations.to_string(), "--cases", &case.name()]);
    command.stdout(std::process::Stdio::null());
    let said = run_both(command).await?;
    collected(&said).with_context(|| format!("callgrind said no count:\n{said}"))
}

/// callgrind speaks on standard error.
async fn run_both(mut command: Command) -> anyhow::Result<String> {
    let mut shell = Command::new("sh");
    let line = command.as_std_mut();
    shell.arg("-c").arg("exec \"$@\" 2>&1").arg("sh").arg(line.get_program()).args(line.get_args());
    run_command(shell, VALGRIND_DEADLINE).await
}

/// `==123== Collected : 456`
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.split_once("Collected :"))?;
    line.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_case_does_what_it_is_named_after() {
        let expected = |case| match case {
            Case::BaggageKeyed | Case::BaggageLong | Case::DecideRoute | Case::ReadUnit => 1,
            Case::BaggageUnkeyed | Case::DecideUnknown | Case::DecideNoKey => 0,
            Case::Put => ROUTES,
        };
        for case in Case::value_variants() {
            assert_eq!(case.bed().unwrap().once().unwrap(), expected(*case), "{case:?}");
        }
    }

    #[test]
    fn callgrinds_count_is_found_among_what_it_says() {
        assert_eq!(collected("==7== \n==7== Events    : Ir\n==7== Collected : 1234567\n"), Some(1_234_567));
        assert_eq!(collected("valgrind: no such program"), None);
    }
}
