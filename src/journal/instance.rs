//! The id of an instance, kept beside its journal.
//!
//! Other instances know by it what this one has used. It goes where the journal goes: whoever has the journal can
//! say what was spent, and whoever begins a new one has spent nothing yet.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// Returns the id that lies in the journal's folder, 32 hex digits; makes one where there is none.
///
/// # Errors
/// When the file cannot be read or written, or holds something else.
pub fn instance_id(journal: &Path) -> io::Result<String> {
    fs::create_dir_all(journal)?;
    let file = journal.join("instance");
    match OpenOptions::new().write(true).create_new(true).open(&file) {
        Ok(mut opened) => {
            let id = uuid::Uuid::now_v7().simple().to_string();
            opened.write_all(id.as_bytes())?;
            opened.sync_all()?;
            Ok(id)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let id = fs::read_to_string(&file)?.trim().to_owned();
            if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Ok(id);
            }
            Err(io::Error::other(format!("`{}` is not an instance's id; remove it", file.display())))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once_and_never_guessed() {
        let folder = tempfile::TempDir::new().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let id = instance_id(&one).unwrap();
        assert_eq!(instance_id(&one).unwrap(), id);
        assert_ne!(instance_id(&other).unwrap(), id);
        fs::write(one.join("instance"), "half an i").unwrap();
        assert!(instance_id(&one).unwrap_err().to_string().contains("remove it"));
    }
}
