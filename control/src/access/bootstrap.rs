//! The first token: without it nobody could make one.
//!
//! Where callers are asked who they are and no admin could say so, one admin token is made and written to a file that only
//! the owner of the data directory can read. Of several replicas that start on one store, one wins; the others' writes meet
//! its record.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use bellhop_api::access::{Role, Secret, TokenInfo};
use jiff::{SignedDuration, Timestamp};

use super::{
    Tokens,
    token::{NoRandom, StoredToken, fresh_token, token_record},
};
use crate::{
    private,
    store::{Expect, Store, StoreError, Write},
};

/// Id of the first token.
const ID: &str = "bootstrap";
/// Its file in the data directory.
const FILE: &str = "bootstrap-token";
/// Long enough for a day's work, too short to become a habit.
const LIFE: SignedDuration = SignedDuration::from_hours(24);

/// The first token cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The file cannot be written.
    #[error("cannot write the first admin token to {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store does not take it.
    #[error("cannot store the first admin token: {0}")]
    Store(#[from] StoreError),
    /// No random numbers.
    #[error("cannot make the first admin token: the machine gives no random numbers")]
    NoRandom,
}

impl From<NoRandom> for BootstrapError {
    fn from(_: NoRandom) -> Self {
        Self::NoRandom
    }
}

/// Makes the first token, unless an admin's token is good now.
pub(crate) async fn bootstrap(
    store: &dyn Store,
    tokens: &Tokens,
    directory: &Path,
    now: Timestamp,
) -> Result<(), BootstrapError> {
    let admin = |info: &TokenInfo| info.role == Role::Admin && info.expires_at > now;
    if tokens.all().iter().any(|token| admin(&token.info)) {
        return Ok(());
    }
    let path = directory.join(FILE);
    let failed = |source| BootstrapError::File { path: path.clone(), source };
    let token = fresh_token()?;
    // first the file: a token that is stored and that nobody has would lock the door for a day
    write(&path, &token).map_err(failed)?;
    let info = TokenInfo {
        id: ID.to_owned(),
        role: Role::Admin,
        namespaces: Vec::new(),
        description: "made at the first start".to_owned(),
        created_by: "bellhop-control".to_owned(),
        created_at: now,
        expires_at: now.saturating_add(LIFE).unwrap_or(Timestamp::MAX),
    };
    let write = Write {
        name: token_record(ID),
        expect: tokens.get(ID).map_or(Expect::Absent, |old| Expect::At(old.revision)),
        value: Some(StoredToken::new(&token, info).value()),
    };
    match store.commit(vec![write]).await {
        Ok(_) => {
            tracing::warn!(file = %path.display(), "no admin's token is stored: made one for 24 h; make others with `bellhop token create`");
            Ok(())
        }
        Err(StoreError::Changed(_)) => {
            withdraw(&path, &token).map_err(failed)?;
            tracing::info!("another replica has made the first token");
            Ok(())
        }
        // it may be stored nevertheless, and then the file is the only way in
        Err(error) => Err(error.into()),
    }
}

/// Removes the file of a token that is not stored; what another replica has put there meanwhile stays.
fn withdraw(path: &Path, token: &Secret) -> io::Result<()> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim_end() == token.reveal() => fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes a file for its owner alone; one that is there is replaced, whatever its mode was.
fn write(path: &Path, token: &Secret) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        private::directory(directory)?;
    }
    let new = path.with_extension("new");
    fs::remove_file(&new).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(token.reveal().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::{access::token::TokenHash, store::fake::Fake};

    #[tokio::test]
    async fn a_first_token_that_may_be_stored_keeps_its_file() {
        let (store, directory) = (Fake::default(), tempfile::tempdir().unwrap());
        store.mute.store(true, Ordering::Relaxed);
        let made = bootstrap(&store, &Tokens::default(), directory.path(), Timestamp::now()).await;
        assert!(matches!(made, Err(BootstrapError::Store(_))), "{made:?}");
        let tokens = Tokens::default();
        tokens.take_listing(&store.list().await.unwrap());
        let kept = fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert!(tokens.find(&TokenHash::of(kept.trim_end())).is_some(), "it opens the door");
    }

    #[test]
    fn the_file_of_another_replica_s_token_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let (ours, theirs) = (fresh_token().unwrap(), fresh_token().unwrap());
        write(&path, &theirs).unwrap();
        withdraw(&path, &ours).unwrap();
        assert!(path.exists());
        withdraw(&path, &theirs).unwrap();
        assert!(!path.exists());
        withdraw(&path, &theirs).unwrap();
    }
}
