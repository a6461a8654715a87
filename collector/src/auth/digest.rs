//! Digest authentication: the password is proven and not sent. RFC 7616 with `qop=auth`, MD5 and SHA-256.
//!
//! A nonce proves by itself that it was made here and when, so that a request without a password leaves nothing behind.
//! What is kept is which requests a nonce was used for, once a right answer came with it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use md5::{Digest as _, Md5};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use subtle::ConstantTimeEq as _;

use super::watched::{Watched, lines};
use super::{Attempt, FileError, FlagFile, Presented, quoted, sha256};

/// How long a nonce may be used.
const NONCE_AGE: Duration = Duration::from_secs(300);
/// Nonces in use at most; a client beyond that has to begin anew.
const MOST_NONCES: usize = 4096;
/// Bytes of a nonce: its time, something random, and the proof that it was made here.
const NONCE_PARTS: [usize; 3] = [8, 8, 16];
const NONCE_BYTES: usize = NONCE_PARTS[0] + NONCE_PARTS[1] + NONCE_PARTS[2];
const PROVEN_BYTES: usize = NONCE_PARTS[0] + NONCE_PARTS[1];

/// Which hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Algorithm {
    Sha256,
    Md5,
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        }
    }

    fn hash(self, text: &str) -> String {
        match self {
            Self::Sha256 => hex(&sha256(text.as_bytes())),
            Self::Md5 => hex(&Md5::digest(text.as_bytes())),
        }
    }
}

/// `user:realm:HA1`, by user, realm and algorithm.
type Secrets = HashMap<(String, String, Algorithm), String>;

/// Distinguishes right answers from others.
#[derive(Debug)]
pub(super) struct Digest {
    secrets: Watched<Secrets>,
    realm: String,
    opaque: String,
    key: hmac::Key,
    random: SystemRandom,
    used: Mutex<HashMap<[u8; PROVEN_BYTES], Uses>>,
}

/// The numbers of the requests a nonce was used for: browsers ask for several things at once and do not send them in
/// order.
#[derive(Clone, Copy, Debug, Default)]
struct Uses {
    highest: u32,
    /// Bit n: whether `highest - n` was used.
    before: u64,
}

impl Uses {
    /// Notes a use; whether it is the first with this number.
    fn note(&mut self, count: u32) -> bool {
        if count == 0 {
            return false;
        }
        if count > self.highest {
            let ahead = count - self.highest;
            self.before = self.before.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let bit = self.highest - count;
        // What is too far back to be known counts as used.
        let first = bit < u64::BITS && self.before >> bit & 1 == 0;
        if first {
            self.before |= 1 << bit;
        }
        first
    }
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// There is none, or it is not right.
    Wrong,
    /// It is right but for the nonce: the client may repeat it with another without asking its user.
    Stale,
}

impl Digest {
    /// Reads the file.
    pub(super) fn load(file: &FlagFile, realm: &str) -> Result<Self, FileError> {
        let random = SystemRandom::new();
        let mut opaque = [0; 16];
        random.fill(&mut opaque).map_err(|_| FileError::NoRandomness)?;
        Ok(Self {
            secrets: Watched::open(&[file], parse)?,
            realm: realm.to_owned(),
            opaque: hex(&opaque),
            key: hmac::Key::generate(hmac::HMAC_SHA256, &random).map_err(|_| FileError::NoRandomness)?,
            random,
            used: Mutex::default(),
        })
    }

    /// Judges what a client presented; either what proves this server to it, or whether it was wrong and the headers that
    /// ask again.
    pub(super) fn check(
        &self,
        presented: Option<&str>,
        attempt: &Attempt<'_>,
    ) -> Result<String, (Presented, Vec<String>)> {
        let (presented, refusal) = match presented.map(|text| self.judge(&fields(text), attempt)) {
            Some(Ok(info)) => return Ok(info),
            Some(Err(Refusal::Wrong)) => (Presented::Wrong, Refusal::Wrong),
            Some(Err(Refusal::Stale)) => (Presented::Nothing, Refusal::Stale),
            None => (Presented::Nothing, Refusal::Wrong),
        };
        Err((presented, self.challenges(refusal, attempt.now)))
    }

    fn challenges(&self, refusal: Refusal, now: Duration) -> Vec<String> {
        let secrets = self.secrets.current();
        let Some(nonce) = self.nonce(now) else { return Vec::new() };
        let has = |algorithm| secrets.keys().any(|(_, _, known)| *known == algorithm);
        // The better one first; MD5 also where there is nobody to let in.
        let offered = [Algorithm::Sha256, Algorithm::Md5];
        let offered = offered
            .into_iter()
            .filter(|algorithm| has(*algorithm) || *algorithm == Algorithm::Md5 && !has(Algorithm::Sha256));
        let challenge = |algorithm: Algorithm| {
            let mut text = format!(
                "Digest realm={}, nonce=\"{nonce}\", opaque=\"{}\", algorithm={}, qop=\"auth\"",
                quoted(&self.realm),
                self.opaque,
                algorithm.name()
            );
            if refusal == Refusal::Stale {
                text.push_str(", stale=true");
            }
            text
        };
        offered.map(challenge).collect()
    }

    fn judge(&self, fields: &HashMap<String, String>, attempt: &Attempt<'_>) -> Result<String, Refusal> {
        let field = |name: &str| fields.get(name).map(String::as_str).ok_or(Refusal::Wrong);
        let algorithm = match fields.get("algorithm").map(String::as_str) {
            None => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("MD5") => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Algorithm::Sha256,
            Some(_) => return Err(Refusal::Wrong),
        };
        let (uri, nonce, count, cnonce) = (field("uri")?, field("nonce")?, field("nc")?, field("cnonce")?);
        let right_place = field("realm")? == self.realm && field("qop")? == "auth" && is_target(uri, attempt.target);
        let number = u32::from_str_radix(count, 16).ok().filter(|_| count.len() == 8).ok_or(Refusal::Wrong)?;
        if !right_place {
            return Err(Refusal::Wrong);
        }
        let secrets = self.secrets.current();
        let secret = secrets.get(&(field("username")?.to_owned(), self.realm.clone(), algorithm));
        // Hashed also for a name that nobody has, so that the time gives nothing away.
        let nobody = &self.opaque.repeat(if algorithm == Algorithm::Sha256 { 2 } else { 1 });
        let ha1 = secret.map_or(nobody.as_str(), String::as_str);
        let answer = |method: &str| {
            let ha2 = algorithm.hash(&format!("{method}:{uri}"));
            algorithm.hash(&format!("{ha1}:{nonce}:{count}:{cnonce}:auth:{ha2}"))
        };
        let right: bool =
            answer(attempt.method).as_bytes().ct_eq(field("response")?.to_ascii_lowercase().as_bytes()).into();
        if !right || secret.is_none() {
            return Err(Refusal::Wrong);
        }
        self.use_nonce(nonce, number, attempt.now)?;
        let proof = answer("");
        Ok(format!("qop=auth, rspauth=\"{proof}\", cnonce={}, nc={count}", quoted(cnonce)))
    }

    /// A new nonce.
    fn nonce(&self, now: Duration) -> Option<String> {
        let mut nonce = [0; NONCE_BYTES];
        nonce[..NONCE_PARTS[0]].copy_from_slice(&(now.as_millis() as u64).to_be_bytes());
        self.random.fill(&mut nonce[NONCE_PARTS[0]..PROVEN_BYTES]).ok()?;
        let proof = hmac::sign(&self.key, &nonce[..PROVEN_BYTES]);
        nonce[PROVEN_BYTES..].copy_from_slice(&proof.as_ref()[..NONCE_PARTS[2]]);
        Some(hex(&nonce))
    }

    /// Notes that a nonce was used with a right answer.
    fn use_nonce(&self, nonce: &str, count: u32, now: Duration) -> Result<(), Refusal> {
        let nonce = unhex(nonce).ok_or(Refusal::Stale)?;
        let (id, proof) = nonce.split_at(PROVEN_BYTES);
        let made_here: bool = hmac::sign(&self.key, id).as_ref()[..NONCE_PARTS[2]].ct_eq(proof).into();
        let id: [u8; PROVEN_BYTES] = id.try_into().map_err(|_| Refusal::Stale)?;
        let is_young = |id: &[u8; PROVEN_BYTES]| now.saturating_sub(made(id)) <= NONCE_AGE;
        if !made_here || !is_young(&id) {
            return Err(Refusal::Stale);
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= MOST_NONCES {
            used.retain(|id, _| is_young(id));
        }
        if used.len() >= MOST_NONCES && !used.contains_key(&id) {
            return Err(Refusal::Stale);
        }
        if used.entry(id).or_default().note(count) { Ok(()) } else { Err(Refusal::Stale) }
    }
}

/// When a nonce was made.
fn made(id: &[u8; PROVEN_BYTES]) -> Duration {
    let mut millis = [0; NONCE_PARTS[0]];
    millis.copy_from_slice(&id[..NONCE_PARTS[0]]);
    Duration::from_millis(u64::from_be_bytes(millis))
}

/// Whether the client's answer is for what it asks; proxies want whole addresses.
fn is_target(uri: &str, target: &str) -> bool {
    let below = uri.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    uri == target || below == Some(target)
}

fn parse(paths: &[FlagFile], contents: &[Vec<u8>]) -> Result<Secrets, FileError> {
    let mut secrets = Secrets::new();
    for (path, text) in paths.iter().zip(contents) {
        for (line, text) in lines(text) {
            let wrong = |problem| FileError::Line { path: path.clone(), line, problem };
            let text = str::from_utf8(text).map_err(|_| wrong("not text"))?;
            let mut parts = text.splitn(2, ':');
            let (user, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let (realm, secret) = rest.rsplit_once(':').ok_or_else(|| wrong("not of the form user:realm:hash"))?;
            let algorithm = match secret.len() {
                32 => Algorithm::Md5,
                64 => Algorithm::Sha256,
                _ => return Err(wrong("the hash is neither 32 digits of MD5 nor 64 of SHA-256")),
            };
            if !secret.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(wrong("the hash is not hexadecimal"));
            }
            secrets.insert((user.to_owned(), realm.to_owned(), algorithm), secret.to_ascii_lowercase());
        }
    }
    Ok(secrets)
}

/// `name=value` and `name="value"`, separated by commas; of what is malformed, the beginning.
fn fields(text: &str) -> HashMap<String, String> {
    let mut fields = HashMap::new();
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while let Some((name, after)) = rest.split_once('=') {
        let mut value = String::new();
        let after = after.trim_start();
        rest = if let Some(inside) = after.strip_prefix('"') {
            let mut letters = inside.char_indices();
            let mut end = inside.len();
            while let Some((at, letter)) = letters.next() {
                match letter {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
                    letter => value.push(letter),
                }
            }
            &inside[end..]
        } else {
            let end = after.find(',').unwrap_or(after.len());
            after[..end].trim_end().clone_into(&mut value);
            &after[end..]
        };
        fields.insert(name.trim().to_ascii_lowercase(), value);
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    fields
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; NONCE_BYTES]> {
    if text.len() != NONCE_BYTES * 2 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; NONCE_BYTES];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_number_counts_once() {
        let mut uses = Uses::default();
        let noted: Vec<_> = [1, 3, 2, 2, 3, 0, 200, 199, 1, 137, 136].map(|count| uses.note(count)).into();
        assert_eq!(noted, [true, true, true, false, false, false, true, true, false, true, false]);
        assert!(uses.note(u32::MAX) && !uses.note(u32::MAX) && !uses.note(200));
    }

    #[test]
    fn headers_are_taken_apart() {
        let fields = fields(r#"username="a \"b\", c", nc=00000001 , qop=auth,uri="/x?y=z", broken="#);
        for (name, value) in [("username", "a \"b\", c"), ("nc", "00000001"), ("qop", "auth"), ("uri", "/x?y=z")] {
            assert_eq!(fields[name], value);
        }
    }

    #[test]
    fn the_hashes_are_those_of_the_standard() {
        // The example of RFC 7616, section 3.9.1.
        for (algorithm, expected) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let ha1 = algorithm.hash("Mufasa:http-auth@example.org:Circle of Life");
            let ha2 = algorithm.hash("GET:/dir/index.html");
            let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
            let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
            assert_eq!(algorithm.hash(&format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}")), expected);
        }
    }

    #[test]
    fn an_answer_is_for_one_address() {
        assert!(is_target("/x?y", "/x?y") && is_target("http://host:1/x", "/x"));
        assert!(!is_target("/x", "/x?y") && !is_target("http://host", "/") && !is_target("http://h/y", "/x"));
    }

    proptest! {
        #[test]
        fn nothing_a_client_sends_panics(text in ".{0,60}", nonce in "[0-9a-f]{60,68}|.{64}") {
            let _ = (fields(&text), unhex(&nonce), unhex(&text));
        }
    }
}
