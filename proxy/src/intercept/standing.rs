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
    /// As they should be, but for these, which lead inbound connections in: the plan names no ports of the workload.
    LeadsIn(&'static str, Vec<String>),
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
        [(name, [standing, wanted])] if plan.leads_in() => judge(name, standing, wanted),
        [(name, [standing, wanted])] => without_word_of_inbound(name, standing, wanted),
        _ => Standing::Both,
    }
}

/// Without a word of the workload's ports nobody can say which inbound rules there should be.
fn without_word_of_inbound(name: &'static str, standing: &[String], wanted: &[String]) -> Standing {
    let (inbound, others): (Vec<_>, Vec<_>) =
        standing.iter().cloned().partition(|line| nft::leads_in(line) || iptables::leads_in(line));
    match judge(name, &others, wanted) {
        Standing::AsWanted(name) if !inbound.is_empty() => Standing::LeadsIn(name, inbound),
        judged => judged,
    }
}

fn judge(name: &'static str, standing: &[String], wanted: &[String]) -> Standing {
    match differences(standing, wanted) {
        none if none.is_empty() => Standing::AsWanted(name),
        some => Standing::Altered(name, some),
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
    use super::{Standing, differences, without_word_of_inbound};

    #[test]
    fn what_is_missing_what_is_beside_and_another_order_are_told() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(differences(&lines("a b"), &lines("a b")).is_empty());
        assert_eq!(differences(&lines("a x"), &lines("a b")), ["missing: b", "not wanted: x"]);
        assert_eq!(differences(&lines("a a"), &lines("a")), ["not wanted: a"]);
        assert_eq!(differences(&lines("b a"), &lines("a b")), ["they stand in another order"]);
    }

    #[test]
    fn inbound_rules_that_nobody_asked_for_are_told_apart_from_those_that_are_wrong() {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        for (out, inbound) in [
            ("meta l4proto tcp redirect to :15001", "fib daddr type local tcp dport 80 redirect to :15006"),
            (
                "IPv4: -A BELLHOP_OUTPUT -p tcp -j REDIRECT --to-ports 15001",
                "IPv4: -A BELLHOP_INBOUND -p tcp -m addrtype --dst-type LOCAL --dport 80 -j REDIRECT --to-ports 15006",
            ),
        ] {
            let judged =
                |standing: &[&str]| without_word_of_inbound("tool", &lines(standing), &lines(&[out]));
            assert_eq!(judged(&[out]), Standing::AsWanted("tool"));
            assert_eq!(judged(&[out, inbound]), Standing::LeadsIn("tool", lines(&[inbound])));
            let altered = Standing::Altered("tool", lines(&["not wanted: another"]));
            assert_eq!(judged(&[out, inbound, "another"]), altered);
        }
    }
}
