//! Files and directories that the account which runs control may read, and no other.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

/// What nobody but the owner may have of a file.
const OTHERS: u32 = 0o077;

/// Makes a directory, and those above it, where they are not there. One that is there stays as it is: it may serve others.
pub(crate) fn directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file to read and write, made where it is not there, its content left alone.
pub(crate) fn file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Takes from everybody else what an earlier version, or a copy by hand, gave them of the files in `directory` whose names
/// begin with `name`. What cannot be taken is logged: the files can be used nevertheless.
pub(crate) fn tighten(directory: &Path, name: &str) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // of a link this is the link's own type: what it points to is not ours
        if !entry.file_name().to_string_lossy().starts_with(name) || !entry.file_type()?.is_file() {
            continue;
        }
        let mode = entry.metadata()?.permissions().mode();
        if mode & OTHERS == 0 {
            continue;
        }
        if let Err(error) = fs::set_permissions(entry.path(), Permissions::from_mode(mode & !OTHERS)) {
            tracing::warn!(file = ?entry.path(), %error, "other accounts may read this file");
        }
    }
    Ok(())
}
