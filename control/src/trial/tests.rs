use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use super::*;

fn config(directory: &Path) -> TrialConfig {
    TrialConfig {
        directory: directory.to_owned(),
        hosts: vec!["control.example.org".to_owned(), "192.0.2.1".to_owned()],
        life: Duration::from_secs(3 * 24 * 3600),
    }
}

#[test]
fn f19_certificates_are_renewed_after_two_thirds_of_their_life_and_authorities_overlap() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let day = |n: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000 + 24 * n);
    let made = refresh(&config, day(0)).unwrap();
    assert_eq!(made, [CA, CA_KEY, SERVER, SERVER_KEY, CLIENT, CLIENT_KEY]);
    for key in [CA_KEY, SERVER_KEY, CLIENT_KEY] {
        let mode = fs::metadata(directory.path().join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    assert!(refresh(&config, day(1)).unwrap().is_empty(), "young");
    assert_eq!(refresh(&config, day(2)).unwrap(), [SERVER, SERVER_KEY, CLIENT, CLIENT_KEY]);
    let held = found(&directory.path().join(SERVER)).remove(0);
    assert_eq!(held.until, day(5));
    assert_eq!(held.hosts, ["localhost", "127.0.0.1", "::1", "control.example.org", "192.0.2.1"]);
    // the authority lives 30 days: at 20 it gets a successor, and both are trusted until the first has ended
    let old = found(&directory.path().join(CA)).remove(0);
    assert!(refresh(&config, day(20)).unwrap().contains(&CA));
    let both = found(&directory.path().join(CA));
    assert_eq!(both.len(), 2);
    assert_eq!((&both[1].pem, both[1].until), (&old.pem, day(30)));
    assert_ne!(both[0].pem, old.pem);
    refresh(&config, day(29)).unwrap();
    assert_eq!(found(&directory.path().join(CA)).len(), 2);
    // at 40 the second one gets its own successor, and the first has ended
    refresh(&config, day(40)).unwrap();
    let now = found(&directory.path().join(CA));
    assert_eq!(now.iter().map(|it| it.until).collect::<Vec<_>>(), [day(70), day(50)]);
}

#[test]
fn names_that_were_asked_for_once_stay_and_new_ones_are_a_reason_to_make_it_anew() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    let now = Timestamp::now();
    refresh(&config, now).unwrap();
    config.hosts = vec!["other.example.org".to_owned()];
    assert_eq!(refresh(&config, now).unwrap(), [SERVER, SERVER_KEY]);
    config.hosts.clear();
    assert!(refresh(&config, now).unwrap().is_empty());
    let held = found(&directory.path().join(SERVER)).remove(0);
    for host in ["other.example.org", "control.example.org", "192.0.2.1", "localhost"] {
        assert!(held.hosts.iter().any(|known| known == host), "{host} {:?}", held.hosts);
    }
    // what cannot be read is made anew
    fs::write(directory.path().join(CA_KEY), "garbage").unwrap();
    assert!(refresh(&config, now).unwrap().contains(&CA));
}
