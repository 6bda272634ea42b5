//! What is typed, and what it becomes. The rules at work are tested in the lab of `tests/`.

use clap::{Args as _, FromArgMatches as _};

use super::*;
use crate::config::Faults;

fn typed(arguments: &[&str]) -> Result<Task, Faults> {
    let command = Flags::augment_args(clap::Command::new("intercept").no_binary_name(true));
    Flags::from_arg_matches(&command.try_get_matches_from(arguments).unwrap()).unwrap().resolve()
}

fn plan(arguments: &[&str]) -> Plan {
    match typed(arguments).unwrap() {
        Task::Apply(plan, _) | Task::Print(plan, _) => plan,
        Task::Undo(_) => panic!("no plan"),
    }
}

const FULL: &[&str] = &[
    "--proxy-uid=1337",
    "--inbound-ports=8080,9000-9010,9005",
    "--exclude-outbound-ports=22,3306-3307",
    "--exclude-cidrs=10.1.0.0/16,10.1.2.3,fd00::/8,192.0.2.9/24",
    "--exclude-uids=0,101",
];

#[test]
fn the_nft_script_is_one_transaction_that_replaces_what_was_there() {
    let script = nft::script(&plan(FULL));
    let expected = "\
table inet bellhop
delete table inet bellhop
table inet bellhop {
\tchain outbound {
\t\ttype nat hook output priority -105; policy accept;
\t\tmeta l4proto != tcp return
\t\tmeta skuid { 0, 101, 1337 } return
\t\tip daddr 127.0.0.0/8 return
\t\tip6 daddr ::1 return
\t\tip daddr { 10.1.0.0/16, 192.0.2.0/24 } return
\t\tip6 daddr fd00::/8 return
\t\ttcp dport { 22, 3306-3307 } return
\t\tmeta l4proto tcp redirect to :15001
\t}
\tchain inbound {
\t\ttype nat hook prerouting priority -105; policy accept;
\t\tiifname \"lo\" return
\t\tfib daddr type local tcp dport { 8080, 9000-9010 } redirect to :15006
\t}
}
";
    assert_eq!(script, expected);
}

#[test]
fn the_iptables_rules_are_one_step_for_each_family() {
    let printed = iptables::print(&plan(FULL));
    let (v4, v6) = printed.split_once("# ip6tables-restore\n").unwrap();
    let expected = "\
*nat
:BELLHOP_OUTPUT - [0:0]
:BELLHOP_INBOUND - [0:0]
-A BELLHOP_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A BELLHOP_OUTPUT -m owner --uid-owner 0 -j RETURN
-A BELLHOP_OUTPUT -m owner --uid-owner 101 -j RETURN
-A BELLHOP_OUTPUT -d ::1/128 -j RETURN
-A BELLHOP_OUTPUT -d fd00::/8 -j RETURN
-A BELLHOP_OUTPUT -p tcp --dport 22 -j RETURN
-A BELLHOP_OUTPUT -p tcp --dport 3306:3307 -j RETURN
-A BELLHOP_OUTPUT -p tcp -j REDIRECT --to-ports 15001
-A BELLHOP_INBOUND -i lo -j RETURN
-A BELLHOP_INBOUND -p tcp -m addrtype --dst-type LOCAL --dport 8080 -j REDIRECT --to-ports 15006
-A BELLHOP_INBOUND -p tcp -m addrtype --dst-type LOCAL --dport 9000:9010 -j REDIRECT --to-ports 15006
-I OUTPUT 1 -p tcp -j BELLHOP_OUTPUT
-I PREROUTING 1 -p tcp -j BELLHOP_INBOUND
COMMIT
";
    assert_eq!(v6, expected);
    assert!(v4.starts_with("# iptables-restore\n*nat\n") && v4.contains("-d 192.0.2.0/24 -j RETURN"));
}

#[test]
fn without_inbound_ports_nothing_is_led_in() {
    let plan = plan(&["--proxy-uid", "1"]);
    assert!(!nft::script(&plan).contains("15006"));
    assert!(!iptables::print(&plan).contains("15006"));
}

#[test]
fn all_faults_are_told_at_once_and_each_says_what_is_allowed() {
    let faults = typed(&[
        "--outbound-port=0",
        "--inbound-ports=8080,9-8",
        "--exclude-cidrs=10.0.0.0/33",
        "--exclude-uids=root",
    ]);
    let faults = faults.unwrap_err().to_string();
    for part in
        ["--outbound-port \"0\"", "--inbound-ports \"9-8\"", "\"10.0.0.0/33\"", "\"root\"", "--proxy-uid"]
    {
        assert!(faults.contains(part), "{part} in {faults}");
    }
}

#[test]
fn undo_needs_nothing_else() {
    assert_eq!(typed(&["--undo"]).unwrap(), Task::Undo(None));
    assert_eq!(typed(&["--undo", "--backend", "nft"]).unwrap(), Task::Undo(Some(Backend::Nft)));
}
