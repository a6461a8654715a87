//! Basic authentication: a name and a password with each request.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::client::Client;
use super::failures::Standing;
use super::htpasswd::Hash;
use super::watched::{Watched, lines};
use super::{FileError, FlagFile, quoted, sha256};

/// Passwords that were found right are not hashed again; more than this many are forgotten.
const REMEMBERED: usize = 256;
/// Clients that are remembered beside each of them.
const REMEMBERED_CLIENTS: usize = 16;
/// Passwords that were found wrong and are not hashed again either.
const REMEMBERED_WRONG: usize = 1024;
/// A longer password is wrong: some hashes take as long as it is. What crypt(3) takes, too.
const LONGEST_PASSWORD: usize = 512;

/// Names and hashes.
#[derive(Debug)]
struct Users {
    by_name: HashMap<Vec<u8>, Hash>,
    /// One hash for each amount of time that hashes of this file take.
    costs: Vec<Hash>,
}

/// What is known of passwords without hashing them, by their own hashes: bcrypt takes a tenth of a second on purpose,
/// and a page that asks every second must not cost that.
#[derive(Debug)]
struct Memory {
    /// What it was found out against.
    users: Arc<Users>,
    right: HashMap<[u8; 32], Vec<Client>>,
    wrong: HashSet<[u8; 32]>,
}

impl Memory {
    fn of(users: Arc<Users>) -> Self {
        Self { users, right: HashMap::new(), wrong: HashSet::new() }
    }

    fn note_right(&mut self, presented: [u8; 32], client: Client) {
        if self.right.len() >= REMEMBERED && !self.right.contains_key(&presented) {
            self.right.clear();
        }
        let clients = self.right.entry(presented).or_default();
        if !clients.contains(&client) {
            if clients.len() >= REMEMBERED_CLIENTS {
                clients.remove(0);
            }
            clients.push(client);
        }
    }

    fn note_wrong(&mut self, presented: [u8; 32]) {
        if self.wrong.len() >= REMEMBERED_WRONG {
            self.wrong.clear();
        }
        self.wrong.insert(presented);
    }
}

/// Distinguishes known names and passwords from others.
#[derive(Debug)]
pub(super) struct Basic {
    users: Watched<Users>,
    realm: String,
    memory: Arc<Mutex<Memory>>,
}

/// What is known of a password at once.
#[derive(Debug)]
pub(super) enum Known {
    /// It is right.
    Right,
    /// It is wrong.
    Wrong,
    /// Nothing: it has to be hashed.
    Unknown(Hashing),
}

/// A password that has to be hashed.
pub struct Hashing {
    users: Arc<Users>,
    user: Vec<u8>,
    password: Vec<u8>,
    presented: [u8; 32],
    client: Client,
    memory: Arc<Mutex<Memory>>,
}

/// The password is never shown.
impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashing").field("client", &self.client).finish_non_exhaustive()
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Basic {
    /// Reads the file.
    pub(super) fn load(file: &FlagFile, realm: &str) -> Result<Self, FileError> {
        let users = Watched::open(&[file], parse)?;
        let memory = Arc::new(Mutex::new(Memory::of(users.current())));
        Ok(Self { users, realm: realm.to_owned(), memory })
    }

    /// The header that asks for a name and a password.
    pub(super) fn challenge(&self) -> String {
        format!("Basic realm={}", quoted(&self.realm))
    }

    /// What is known of a name and a password, in base64, without hashing it. Who has guessed too often is let in with
    /// what was right from there before: not with what somebody else uses, which could be guessed at any speed.
    pub(super) fn look_up(&self, credentials: &str, client: Client, standing: Standing) -> Known {
        let Ok(pair) = STANDARD.decode(credentials.trim_end()) else { return Known::Wrong };
        let Some(colon) = pair.iter().position(|byte| *byte == b':') else { return Known::Wrong };
        let (user, password) = (&pair[..colon], &pair[colon + 1..]);
        if password.len() > LONGEST_PASSWORD {
            return Known::Wrong;
        }
        let users = self.users.current();
        let presented = sha256(&pair);
        let mut memory = lock(&self.memory);
        if !Arc::ptr_eq(&memory.users, &users) {
            *memory = Memory::of(Arc::clone(&users));
        }
        if let Some(clients) = memory.right.get(&presented) {
            let is_exhausted = matches!(standing, Standing::Exhausted(_));
            if clients.contains(&client) {
                return Known::Right;
            }
            if !is_exhausted {
                memory.note_right(presented, client);
                return Known::Right;
            }
        }
        if memory.wrong.contains(&presented) {
            return Known::Wrong;
        }
        let (user, password) = (user.to_vec(), password.to_vec());
        Known::Unknown(Hashing { users, user, password, presented, client, memory: Arc::clone(&self.memory) })
    }
}

impl Hashing {
    /// A hash of name and password: two of the same need only one look.
    pub fn key(&self) -> [u8; 32] {
        self.presented
    }

    /// Whether the password is right. Takes its time, and as much for a name that nobody has, whatever kind of hash others
    /// have: not for the async threads.
    pub fn is_right(&self) -> bool {
        let own = self.users.by_name.get(&self.user);
        let is_right = own.is_some_and(|hash| hash.is_of(&self.password));
        let mut memory = lock(&self.memory);
        let is_current = Arc::ptr_eq(&memory.users, &self.users);
        if is_right {
            if is_current {
                memory.note_right(self.presented, self.client);
            }
            return true;
        }
        if is_current {
            memory.note_wrong(self.presented);
        }
        drop(memory);
        for other in &self.users.costs {
            if own.is_none_or(|own| !own.takes_as_long_as(other)) {
                other.is_of(&self.password);
            }
        }
        false
    }
}

fn parse(paths: &[FlagFile], contents: &[Vec<u8>]) -> Result<Users, FileError> {
    let mut by_name = HashMap::new();
    for (path, text) in paths.iter().zip(contents) {
        for (line, text) in lines(text) {
            let wrong = |problem| FileError::Line { path: path.clone(), line, problem };
            let colon = text.iter().position(|byte| *byte == b':').ok_or_else(|| wrong("not of the form user:hash"))?;
            let hash = Hash::parse(&text[colon + 1..]).map_err(wrong)?;
            by_name.insert(text[..colon].to_vec(), hash);
        }
    }
    let mut costs: Vec<Hash> = Vec::new();
    for hash in by_name.values() {
        if !costs.iter().any(|other| hash.takes_as_long_as(other)) {
            costs.push(hash.clone());
        }
    }
    Ok(Users { by_name, costs })
}

#[cfg(test)]
mod tests {
    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    /// `secret`, by bcrypt with 2^8 rounds, and by SHA-1.
    const SLOW: &str = "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";
    const FAST: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";

    /// Nanoseconds on a CPU, whoever else wants it.
    fn shortest(users: &Arc<Users>, user: &str) -> i64 {
        let memory = Arc::new(Mutex::new(Memory::of(Arc::clone(users))));
        let once = || {
            let hashing = Hashing {
                users: Arc::clone(users),
                user: user.into(),
                password: b"wrong".to_vec(),
                presented: [0; 32],
                client: Client::Local,
                memory: Arc::clone(&memory),
            };
            let now = || {
                let time = clock_gettime(ClockId::ThreadCPUTime);
                time.tv_sec * 1_000_000_000 + time.tv_nsec
            };
            let began = now();
            assert!(!hashing.is_right());
            now() - began
        };
        (0..5).map(|_| once()).min().unwrap()
    }

    #[test]
    fn the_time_does_not_show_who_is_known_nor_how_they_are_hashed() {
        let text = format!("slow:{SLOW}\nfast:{FAST}\n").into_bytes();
        let users = Arc::new(parse(&[FlagFile { flag: "http_auth_file", path: "f".into() }], &[text]).unwrap());
        let times = ["slow", "fast", "nobody"].map(|user| shortest(&users, user));
        let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert!(*most < *least * 2, "{times:?}");
        let alone = Arc::new(
            parse(&[FlagFile { flag: "http_auth_file", path: "f".into() }], &[format!("fast:{FAST}\n").into_bytes()])
                .unwrap(),
        );
        assert!(shortest(&alone, "nobody") * 10 < *least, "the test measures nothing");
    }
}
