//! Basic authentication: a name and a password with each request.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::htpasswd::Hash;
use super::watched::{Watched, lines};
use super::{FileError, FlagFile, quoted, sha256};

/// Passwords that were found right are not hashed again; more than this many are forgotten.
const REMEMBERED: usize = 256;

/// Names and hashes.
#[derive(Debug)]
struct Users(HashMap<Vec<u8>, Hash>);

/// Tells known names and passwords from others.
#[derive(Debug)]
pub(super) struct Basic {
    users: Watched<Users>,
    realm: String,
    /// Hashes of what was found right, and what it was found right against: bcrypt takes a tenth of a second on
    /// purpose, and a page that asks every second must not cost that.
    right: Mutex<(Arc<Users>, HashSet<[u8; 32]>)>,
}

impl Basic {
    /// Reads the file.
    pub(super) fn load(file: &FlagFile, realm: &str) -> Result<Self, FileError> {
        let users = Watched::open(&[file], parse)?;
        let right = Mutex::new((users.current(), HashSet::new()));
        Ok(Self { users, realm: realm.to_owned(), right })
    }

    /// The header that asks for a name and a password.
    pub(super) fn challenge(&self) -> String {
        format!("Basic realm={}", quoted(&self.realm))
    }

    /// Whether these are a user's name and password, in base64.
    pub(super) fn knows(&self, credentials: &str) -> bool {
        let Ok(pair) = STANDARD.decode(credentials.trim_end()) else { return false };
        let Some(colon) = pair.iter().position(|byte| *byte == b':') else { return false };
        let (user, password) = (&pair[..colon], &pair[colon + 1..]);
        let users = self.users.current();
        let presented = sha256(&pair);
        {
            let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            if !Arc::ptr_eq(&right.0, &users) {
                *right = (Arc::clone(&users), HashSet::new());
            }
            if right.1.contains(&presented) {
                return true;
            }
        }
        let Some(hash) = users.0.get(user) else {
            // As long as for a known name, so that the time does not tell which names there are.
            if let Some(other) = users.0.values().next() {
                other.is_of(password);
            }
            return false;
        };
        if !hash.is_of(password) {
            return false;
        }
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.1.len() >= REMEMBERED {
            right.1.clear();
        }
        if Arc::ptr_eq(&right.0, &users) {
            right.1.insert(presented);
        }
        true
    }
}

fn parse(paths: &[FlagFile], contents: &[Vec<u8>]) -> Result<Users, FileError> {
    let mut users = HashMap::new();
    for (path, text) in paths.iter().zip(contents) {
        for (line, text) in lines(text) {
            let wrong = |problem| FileError::Line { path: path.clone(), line, problem };
            let colon = text.iter().position(|byte| *byte == b':').ok_or_else(|| wrong("not of the form user:hash"))?;
            let hash = Hash::parse(&text[colon + 1..]).map_err(wrong)?;
            users.insert(text[..colon].to_vec(), hash);
        }
    }
    Ok(Users(users))
}
