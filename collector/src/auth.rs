//! Who may ask: passwords, digests and tokens in files, and the certificate that is shown to whoever connects.
//!
//! Knows nothing of what is asked for. Files are looked at again when they change; one that is broken then leaves what
//! was read before in force.

mod basic;
mod bearer;
mod client;
mod digest;
mod failures;
mod flag_file;
mod htpasswd;
mod md5_crypt;
pub mod tls;
mod watched;

use std::io;
use std::time::Duration;

pub use basic::Hashing;
use basic::{Basic, Known};
use bearer::Bearer;
pub use client::Client;
use digest::Digest;
pub use failures::{Failures, Standing};
pub use flag_file::{FlagFile, unreadable};
pub use watched::{FileVersion, read_file};

/// What is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A name and a password, if at all.
    pub passwords: Option<Passwords>,
    /// A file of tokens.
    pub tokens: Option<FlagFile>,
}

/// How names and passwords are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passwords {
    /// Which way.
    pub scheme: Scheme,
    /// The file.
    pub file: FlagFile,
    /// What the browser shows.
    pub realm: String,
}

/// A way to ask for names and passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Basic, with a file of htpasswd's.
    Basic,
    /// Digest, with a file of htdigest's.
    Digest,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{path}: {}", unreadable(.source))]
    Unreadable {
        /// Which.
        path: FlagFile,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line of it is not understood.
    #[error("{path}, line {line}: {problem}")]
    Line {
        /// Which file.
        path: FlagFile,
        /// Which line, the first is 1.
        line: usize,
        /// What is wrong with it and what would be right.
        problem: &'static str,
    },
    /// It holds nothing.
    #[error("{path}: {missing}")]
    Empty {
        /// Which.
        path: FlagFile,
        /// What is missing.
        missing: &'static str,
    },
    /// A certificate or key is not one.
    #[error("{path}: {problem}")]
    Pem {
        /// Which.
        path: FlagFile,
        /// What is wrong.
        problem: &'static str,
    },
    /// A certificate and a key that TLS cannot work with.
    #[error("{path}: {source}; give the key of the certificate")]
    Tls {
        /// The key's file.
        path: FlagFile,
        /// What TLS says.
        #[source]
        source: tokio_rustls::rustls::Error,
    },
    /// The system gave no random numbers.
    #[error("no random numbers to be had")]
    NoRandomness,
}

/// What a client sent to be let in.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The request's method.
    pub method: &'a str,
    /// Path and query as they were sent.
    pub target: &'a str,
    /// The header `Authorization`.
    pub authorization: Option<&'a str>,
    /// The time on any clock that does not go back.
    pub now: Duration,
    /// Who asks.
    pub client: Client,
    /// How often that was wrong lately.
    pub standing: Standing,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Decision {
    /// It is answered, with this as `Authentication-Info` if at all.
    Granted {
        /// What proves the server to the client, in Digest.
        info: Option<String>,
    },
    /// It is answered with 401 and these headers `WWW-Authenticate`.
    Denied {
        /// At least one.
        challenges: Vec<String>,
        /// Whether the client was wrong.
        presented: Presented,
    },
    /// It depends on a password that has to be hashed.
    Hash {
        /// The password.
        hashing: Hashing,
        /// The headers if it is wrong.
        challenges: Vec<String>,
    },
}

/// What a client showed that is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// Nothing of what is asked for, or what was right a while ago.
    Nothing,
    /// Something wrong.
    Wrong,
}

#[derive(Debug)]
enum PasswordCheck {
    Basic(Box<Basic>),
    Digest(Box<Digest>),
}

/// Lets clients in or not.
#[derive(Debug)]
pub struct Guard {
    passwords: Option<PasswordCheck>,
    tokens: Option<Bearer>,
}

impl Guard {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn load(settings: &Settings) -> Result<Self, FileError> {
        let passwords = match &settings.passwords {
            None => None,
            Some(Passwords { scheme: Scheme::Basic, file, realm }) => {
                Some(PasswordCheck::Basic(Box::new(Basic::load(file, realm)?)))
            }
            Some(Passwords { scheme: Scheme::Digest, file, realm }) => {
                Some(PasswordCheck::Digest(Box::new(Digest::load(file, realm)?)))
            }
        };
        let tokens = settings.tokens.as_ref().map(Bearer::load).transpose()?;
        Ok(Self { passwords, tokens })
    }

    /// Judges one request, at once: a password that has to be hashed is handed back.
    pub fn check(&self, attempt: &Attempt<'_>) -> Decision {
        let (scheme, rest) = attempt.authorization.unwrap_or_default().split_once(' ').unwrap_or_default();
        let rest = rest.trim_start();
        let mut challenges = Vec::new();
        let mut presented = Presented::Nothing;
        if let Some(tokens) = &self.tokens {
            if scheme.eq_ignore_ascii_case("bearer") {
                if tokens.knows(rest) {
                    return Decision::Granted { info: None };
                }
                presented = Presented::Wrong;
            }
            challenges.push("Bearer".to_owned());
        }
        match &self.passwords {
            Some(PasswordCheck::Basic(basic)) => {
                challenges.push(basic.challenge());
                if scheme.eq_ignore_ascii_case("basic") {
                    match basic.look_up(rest, attempt.client, attempt.standing) {
                        Known::Right => return Decision::Granted { info: None },
                        Known::Wrong => presented = Presented::Wrong,
                        Known::Unknown(hashing) => return Decision::Hash { hashing, challenges },
                    }
                }
            }
            Some(PasswordCheck::Digest(digest)) => {
                let shown = scheme.eq_ignore_ascii_case("digest").then_some(rest);
                match digest.check(shown, attempt) {
                    Ok(info) => return Decision::Granted { info: Some(info) },
                    Err((Presented::Wrong, asked)) => {
                        presented = Presented::Wrong;
                        challenges.extend(asked);
                    }
                    Err((Presented::Nothing, asked)) => challenges.extend(asked),
                }
            }
            None => {}
        }
        Decision::Denied { challenges, presented }
    }
}

/// A quoted string of HTTP.
fn quoted(text: &str) -> String {
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A hash by which what a client showed is known again.
pub fn fingerprint(authorization: &str) -> [u8; 32] {
    sha256(authorization.as_bytes())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests;
