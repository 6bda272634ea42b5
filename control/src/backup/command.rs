//! `bellhop-control backup` and `restore`.

use std::{
    fs::{self, File},
    io::{self, BufReader, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use bellhop_client::{Credentials, Source};
use clap::{ArgMatches, Args};
use jiff::Timestamp;

use super::{Backup, Pages, fetch, read};
use crate::{
    config::{EtcdAccess, EtcdConfig, UsageError},
    store::{Embedded, Listing, Store as _},
};

const BACKUP_EXAMPLES: &str = "\
Examples:
  bellhop-control backup bellhop.backup                         of the control plane that runs on this host
  bellhop-control backup --server https://10.0.0.9:7070 --ca-file ca.pem --token-file token - | zstd > bellhop.backup.zst
  bellhop-control backup --data-dir /var/lib/bellhop bellhop.backup      of one that is not running
  bellhop-control backup --store etcd://10.0.1.1:2379/bellhop bellhop.backup

The file holds everything that the store holds. It is text, one record a line, with a checksum at its end.";

const RESTORE_EXAMPLES: &str = "\
Examples:
  bellhop-control restore --check bellhop.backup                whether it is whole, and what it holds
  bellhop-control restore --data-dir /var/lib/bellhop bellhop.backup
  bellhop-control restore --store etcd://10.0.1.1:2379/bellhop bellhop.backup

A control plane on that directory must not be running; replicas on etcd may be. Proxies notice that the store began a new life and take all routes
anew; none of them stops routing meanwhile. Times to live went on while the backup lay there: what has expired stays expired.";

/// Takes a backup: everything in the store as it stands at one moment, also while control runs
#[derive(Debug, Clone, Args)]
#[command(after_help = BACKUP_EXAMPLES)]
pub(crate) struct BackupFlags {
    /// Where to write it; `-` is standard output. A file is there whole or not at all, readable by its owner alone
    file: PathBuf,
    /// The control plane that is asked
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7070", env = "BELLHOP_SERVER")]
    server: String,
    /// File with an admin's token for it
    #[arg(long, value_name = "FILE", env = "BELLHOP_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// File with the authorities (PEM) that vouch for it [default: those that this machine trusts]
    #[arg(long, value_name = "FILE", env = "BELLHOP_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// File with an admin's client certificate (PEM, its chain behind it), instead of a token
    #[arg(long, value_name = "FILE", requires = "client_key_file", env = "BELLHOP_CLIENT_CERT_FILE")]
    client_cert_file: Option<PathBuf>,
    /// File with the key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "client_cert_file", env = "BELLHOP_CLIENT_KEY_FILE")]
    client_key_file: Option<PathBuf>,
    /// Read the embedded store in this directory instead, of a control plane that is not running
    #[arg(long, value_name = "DIR", conflicts_with = "store")]
    data_dir: Option<PathBuf>,
    /// Read the store in this etcd instead, whether or not replicas run on it
    #[arg(long, value_name = "etcd://…")]
    store: Option<String>,
    #[command(flatten)]
    etcd: EtcdAccess,
}

/// Puts a backup into an embedded store that nobody serves from, or into etcd
#[derive(Debug, Clone, Args)]
#[command(after_help = RESTORE_EXAMPLES)]
pub(crate) struct RestoreFlags {
    /// The backup; `-` is standard input
    file: PathBuf,
    /// Directory of the store; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "./bellhop-data", env = "BELLHOP_DATA_DIR")]
    data_dir: PathBuf,
    /// The etcd to put it into instead, with its prefix. Replicas may run on it
    #[arg(long, value_name = "etcd://…")]
    store: Option<String>,
    #[command(flatten)]
    etcd: EtcdAccess,
    /// Put it in the place of what the store holds, all of which is lost. Without it only an empty store is filled
    #[arg(long)]
    replace: bool,
    /// Read and check the backup, write nothing
    #[arg(long)]
    check: bool,
}

impl BackupFlags {
    /// Takes the backup, checks it, and says what it holds. `typed` tells flags from the environment.
    pub(crate) fn run(self, typed: &ArgMatches) -> anyhow::Result<()> {
        let etcd = in_etcd(self.store.as_deref(), &self.etcd, typed)?;
        if self.file == Path::new("-") {
            return self.copy(etcd, io::stdout().lock());
        }
        let new = aside(&self.file);
        let mut file = create(&new).with_context(|| format!("cannot write {}", new.display()))?;
        let taken = self.copy(etcd, &mut file).and_then(|()| {
            file.sync_all()?;
            let backup = read(BufReader::new(File::open(&new)?)).context("what came is no whole backup")?;
            fs::rename(&new, &self.file)?;
            Ok(backup)
        });
        match taken {
            Ok(backup) => say(&format!("{}: {}", self.file.display(), describe(&backup))),
            Err(error) => {
                // what is left of it is of no use to anybody
                fs::remove_file(&new).ok();
                Err(error)
            }
        }
    }

    fn copy(&self, etcd: Option<EtcdConfig>, into: impl Write) -> anyhow::Result<()> {
        let runtime = runtime()?;
        if let Some(config) = etcd {
            return write(runtime.block_on(list_etcd(config))?, into);
        }
        let Some(directory) = &self.data_dir else {
            let credentials = Credentials {
                token: self.token_file.clone().map(Source::File),
                ca: self.ca_file.clone().map(Source::File),
                certificate: self.client_cert_file.clone().zip(self.client_key_file.clone()),
            };
            return Ok(runtime.block_on(fetch::fetch(&self.server, credentials, into))?);
        };
        if !Embedded::is_in(directory) {
            bail!("{} holds no store", directory.display());
        }
        let store = Embedded::open(directory)
            .context("a control plane that runs is asked with --server instead of --data-dir")?;
        write(runtime.block_on(store.list())?, into)
    }
}

fn write(listing: Listing, mut into: impl Write) -> anyhow::Result<()> {
    let mut pages = Pages::new(listing, Timestamp::now());
    while let Some(piece) = pages.piece()? {
        into.write_all(&piece)?;
    }
    Ok(())
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The etcd that `--store` names.
fn in_etcd(
    store: Option<&str>,
    access: &EtcdAccess,
    typed: &ArgMatches,
) -> anyhow::Result<Option<EtcdConfig>> {
    let Some(store) = store else {
        let unused = EtcdAccess::typed_in_vain(typed, "another store");
        return if unused.is_empty() { Ok(None) } else { Err(UsageError::Faults(unused).into()) };
    };
    let mut faults = Vec::new();
    let address = store.strip_prefix("etcd://").unwrap_or_default();
    let config = access.clone().resolve(address, &mut faults);
    if faults.is_empty() { Ok(Some(config)) } else { Err(UsageError::Faults(faults).into()) }
}

#[cfg(feature = "etcd")]
async fn list_etcd(config: EtcdConfig) -> anyhow::Result<Listing> {
    Ok(crate::store::Etcd::read(config).await?)
}

#[cfg(feature = "etcd")]
async fn restore_etcd(config: EtcdConfig, backup: Backup, replace: bool) -> anyhow::Result<()> {
    Ok(crate::store::Etcd::restore(config, backup, replace).await?)
}

#[cfg(not(feature = "etcd"))]
async fn list_etcd(_config: EtcdConfig) -> anyhow::Result<Listing> {
    bail!(NO_ETCD)
}

#[cfg(not(feature = "etcd"))]
async fn restore_etcd(_config: EtcdConfig, _backup: Backup, _replace: bool) -> anyhow::Result<()> {
    bail!(NO_ETCD)
}

#[cfg(not(feature = "etcd"))]
const NO_ETCD: &str = "this program was built without etcd; build it with --features etcd";

impl RestoreFlags {
    /// Checks the backup, then puts it back. `typed` tells flags from the environment.
    pub(crate) fn run(self, typed: &ArgMatches) -> anyhow::Result<()> {
        let name = self.file.display();
        let backup = if self.file == Path::new("-") {
            read(io::stdin().lock())
        } else {
            read(BufReader::new(File::open(&self.file).with_context(|| format!("cannot read {name}"))?))
        };
        let backup = backup.with_context(|| format!("{name} cannot be restored"))?;
        let told = describe(&backup);
        if self.check {
            return say(&format!("{name}: whole; {told}"));
        }
        if let Some(config) = in_etcd(self.store.as_deref(), &self.etcd, typed)? {
            let place = format!("{}{}", config.endpoints.join(","), config.prefix);
            runtime()?.block_on(restore_etcd(config, backup, self.replace))?;
            return say(&format!("{place}: restored; {told}"));
        }
        Embedded::restore(&self.data_dir, backup, self.replace)?;
        say(&format!("{}: restored; {told}", self.data_dir.display()))
    }
}

fn describe(backup: &Backup) -> String {
    let count =
        |class: &str| backup.listing.records.iter().filter(|record| record.name.starts_with(class)).count();
    format!(
        "{} records ({} services, {} sandboxes, {} groups) as of {}",
        backup.listing.records.len(),
        count("object/Service/"),
        count("object/Sandbox/"),
        count("object/SandboxGroup/"),
        backup.taken_at
    )
}

/// Standard output may be the backup itself.
fn say(text: &str) -> anyhow::Result<()> {
    writeln!(io::stderr(), "{text}")?;
    Ok(())
}

/// Makes a file for its owner alone in the place of one that was left behind; whatever else got there first, such as
/// somebody's link to another file, is not written into.
fn create(new: &Path) -> io::Result<File> {
    fs::remove_file(new).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    File::options().write(true).create_new(true).mode(0o600).open(new)
}

fn aside(file: &Path) -> PathBuf {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    new.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_link_in_the_place_of_a_new_backup_is_not_followed_and_a_leftover_keeps_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (victim, new) = (directory.path().join("victim"), directory.path().join("backup.new"));
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &new).unwrap();
        create(&new).unwrap().write_all(b"ours").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
        create(&new).unwrap();
        let left = fs::symlink_metadata(&new).unwrap();
        assert_eq!((left.is_file(), left.len(), left.permissions().mode() & 0o777), (true, 0, 0o600));
    }
}
