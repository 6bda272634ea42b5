//! The rules that stand, beside those that should.

use super::{Backend, Plan, iptables, nft, tool};

/// How the rules stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There are none.
    Absent,
    /// As they should be; with which tool.
    AsWanted(&'static str),
    /// Others than they should be: what is missing, and what is there beside.
    Altered(&'static str, Vec<String>),
    /// Those of both tools.
    Both,
    /// It cannot be told, and why.
    Unreadable(String),
}

/// Compares what stands with what this plan would write. `backend` looks at one tool's alone.
pub(crate) fn standing(plan: &Plan, backend: Option<Backend>) -> Standing {
    let mut found = Vec::new();
    let mut why = "neither nft nor iptables-save is found in PATH".to_owned();
    let mut could = false;
    for (one, name, program) in
        [(Backend::Nft, "nftables", "nft"), (Backend::Iptables, "iptables", "iptables-save")]
    {
        if backend.is_some_and(|wanted| wanted != one) || !tool::exists(program) {
            continue;
        }
        let lines = match one {
            Backend::Nft => nft::lines(plan),
            Backend::Iptables => iptables::lines(plan),
        };
        match lines {
            Ok(lines) => {
                could = true;
                found.extend(lines.map(|lines| (name, lines)));
            }
            Err(error) => why = error.to_string(),
        }
    }
    match found.as_slice() {
        [] if could => Standing::Absent,
        [] => Standing::Unreadable(why),
        [(name, [standing, wanted])] => match differences(standing, wanted) {
            none if none.is_empty() => Standing::AsWanted(name),
            some => Standing::Altered(name, some),
        },
        _ => Standing::Both,
    }
}

/// What is missing, what is there beside, and, where it is neither, that the order is another.
fn differences(standing: &[String], wanted: &[String]) -> Vec<String> {
    if standing == wanted {
        return Vec::new();
    }
    let mut left = standing.to_vec();
    let mut told = Vec::new();
    for line in wanted {
        match left.iter().position(|other| other == line) {
            Some(at) => drop(left.remove(at)),
            None => told.push(format!("missing: {line}")),
        }
    }
    told.extend(left.iter().map(|line| format!("not wanted: {line}")));
    if told.is_empty() {
        told.push("they stand in another order".to_owned());
    }
    told
}

#[cfg(test)]
mod tests {
    use super::differences;

    #[test]
    fn what_is_missing_what_is_beside_and_another_order_are_told() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(differences(&lines("a b"), &lines("a b")).is_empty());
        assert_eq!(differences(&lines("a x"), &lines("a b")), ["missing: b", "not wanted: x"]);
        assert_eq!(differences(&lines("a a"), &lines("a")), ["not wanted: a"]);
        assert_eq!(differences(&lines("b a"), &lines("a b")), ["they stand in another order"]);
    }
}
