//! Listening sockets from elsewhere.

use std::path::PathBuf;

use serde::Serialize;

use super::faults::Faults;

#[derive(Debug, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Upgrade in place")]
pub(super) struct Flags {
    /// Takes the listening sockets of the proxy that runs there, by its admin socket; serves when ready, and lets that
    /// one drain then, so that no connection is refused. Where none runs, starts as usual [default: none]
    #[arg(long, env = "BELLHOP_TAKE_OVER", hide_env_values = true, value_name = "unix:PATH")]
    take_over: Option<String>,
}

/// Listening sockets from elsewhere.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Handover {
    /// Admin socket of the proxy whose place is taken.
    pub take_over: Option<PathBuf>,
    /// Sockets that this process was started with (`LISTEN_FDS`).
    pub activation: Option<Activation>,
}

/// What `LISTEN_FDS` and `LISTEN_FDNAMES` announce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Activation {
    /// How many.
    pub count: usize,
    /// Which listener each is for.
    pub names: Vec<String>,
}

impl Flags {
    pub(super) fn resolve(self, faults: &mut Faults) -> Handover {
        let typed = self.take_over.filter(|typed| !typed.trim().is_empty());
        let take_over = typed.and_then(|typed| match typed.trim().strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Some(PathBuf::from(path)),
            _ => {
                faults.add("take-over", typed, "allowed: unix:PATH, the --admin of the proxy that runs");
                None
            }
        });
        Handover { take_over, activation: activation(|name| std::env::var(name).ok()) }
    }
}

/// sd_listen_fds(3): the variables are meant for the process whose id they name, and for nobody that it starts.
fn activation(variable: impl Fn(&str) -> Option<String>) -> Option<Activation> {
    let number = |name| variable(name).and_then(|text| text.parse::<usize>().ok());
    if number("LISTEN_PID") != usize::try_from(std::process::id()).ok() {
        return None;
    }
    let count = number("LISTEN_FDS").filter(|count| *count > 0)?;
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Some(Activation { count, names })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_announced_to_one_process_alone() {
        let own = std::process::id().to_string();
        let told = |pid: &str, count: &str, names: &str| {
            activation(|name| {
                Some(match name {
                    "LISTEN_PID" => pid.to_owned(),
                    "LISTEN_FDS" => count.to_owned(),
                    _ => names.to_owned(),
                })
            })
        };
        let names = vec!["outbound".to_owned(), "status".to_owned()];
        assert_eq!(told(&own, "2", "outbound:status"), Some(Activation { count: 2, names }));
        assert_eq!(told(&own, "2", ""), Some(Activation { count: 2, names: Vec::new() }));
        assert_eq!(told("1", "2", "outbound:status"), None);
        assert_eq!(told("", "2", "outbound:status"), None);
        assert_eq!(told(&own, "0", ""), None);
        assert_eq!(told(&own, "many", ""), None);
        assert_eq!(activation(|_| None), None);
    }
}
