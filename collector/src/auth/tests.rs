//! Clients that are let in, and others.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use tempfile::TempDir;

use super::*;

fn file(folder: &TempDir, text: &str) -> FlagFile {
    let path = folder.path().join("file");
    // Another length or another inode: two writes within a tick of the clock are two versions.
    let _ = fs::remove_file(&path);
    fs::write(&path, text).unwrap();
    FlagFile { flag: "file", path }
}

fn guard(scheme: Scheme, file: FlagFile) -> Result<Guard, FileError> {
    Guard::load(&Settings { passwords: Some(Passwords { scheme, file, realm: "here".into() }), tokens: None })
}

fn attempt(authorization: Option<&str>) -> Attempt<'_> {
    Attempt {
        method: "GET",
        target: "/containers/",
        authorization,
        now: Duration::from_secs(1000),
        client: Client::Local,
        standing: Standing::Good(0),
    }
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

fn granted(guard: &Guard, authorization: &str) -> bool {
    match guard.check(&attempt(Some(authorization))) {
        Decision::Granted { .. } => true,
        Decision::Denied { .. } => false,
        Decision::Hash { hashing, .. } => hashing.is_right(),
    }
}

#[test]
fn a_password_lets_in_until_it_is_changed() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "# users\n\nann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\r\n");
    let guard = guard(Scheme::Basic, path).unwrap();
    let Decision::Denied { challenges, .. } = guard.check(&attempt(None)) else { panic!("let in") };
    assert_eq!(challenges, ["Basic realm=\"here\""]);
    for _ in 0..2 {
        assert!(granted(&guard, &basic("ann:secret")));
        for wrong in [basic("ann:Secret"), basic("bob:secret"), basic("ann"), "Basic ?".into(), "Bearer x".into()] {
            assert!(!granted(&guard, &wrong), "{wrong}");
        }
    }
    file(&folder, "ann:{SHA}ljkkVh7hIGIMjt1eAAxfGsoAfZo=\n");
    assert!(!granted(&guard, &basic("ann:secret")));
    // What cannot be used changes nothing.
    file(&folder, "bob:secret\n");
    assert!(!granted(&guard, &basic("bob:secret")));
    file(&folder, "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=");
    assert!(granted(&guard, &basic("ann:secret")));
    fs::remove_file(folder.path().join("file")).unwrap();
    assert!(granted(&guard, &basic("ann:secret")));
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = TempDir::new().unwrap();
    let message = |scheme, text: &str| {
        let error = guard(scheme, file(&folder, text)).unwrap_err().to_string();
        error.replace(&folder.path().display().to_string(), "")
    };
    assert_eq!(message(Scheme::Basic, "\nann\n"), "--file=/file, line 2: not of the form user:hash");
    assert_eq!(
        message(Scheme::Basic, "ann:abJnggxhB/yWI"),
        "--file=/file, line 1: neither a hash of bcrypt, MD5 or SHA nor {SHA}; write it with htpasswd -B"
    );
    assert_eq!(
        message(Scheme::Digest, "ann:here:abc"),
        "--file=/file, line 1: the hash is neither 32 digits of MD5 nor 64 of SHA-256"
    );
    let missing = FlagFile { flag: "file", path: folder.path().join("none") };
    let missing = guard(Scheme::Basic, missing).unwrap_err().to_string();
    let expected = "/none: No such file or directory (os error 2); give the path of a file that is there";
    assert!(missing.starts_with("--file=/") && missing.contains(expected), "{missing}");
    let empty = Guard::load(&Settings { passwords: None, tokens: Some(file(&folder, "\n#x\n")) }).unwrap_err();
    assert!(empty.to_string().ends_with("no token; write one alone on its line"));
}

#[test]
fn tokens_are_asked_for_first() {
    let folder = TempDir::new().unwrap();
    let tokens = file(&folder, "first\nsecond\n");
    let guard = Guard::load(&Settings { passwords: None, tokens: Some(tokens) }).unwrap();
    assert!(granted(&guard, "Bearer first") && granted(&guard, "bearer  second "));
    assert!(!granted(&guard, "Bearer third") && !granted(&guard, "Bearer ") && !granted(&guard, "first"));
    let Decision::Denied { challenges, presented } = guard.check(&attempt(None)) else { panic!("let in") };
    assert_eq!((challenges, presented), (vec!["Bearer".to_owned()], Presented::Nothing));
    let wrong = guard.check(&attempt(Some("Bearer third")));
    assert!(matches!(wrong, Decision::Denied { presented: Presented::Wrong, .. }));
}

/// A client of Digest.
struct Asking<'a> {
    guard: &'a Guard,
    now: Duration,
}

impl Asking<'_> {
    fn ask(&self, authorization: Option<&str>) -> Decision {
        self.guard.check(&Attempt { now: self.now, ..attempt(authorization) })
    }

    fn challenge(&self) -> String {
        match self.ask(None) {
            Decision::Denied { challenges, .. } => challenges[0].clone(),
            other => panic!("let in without a password: {other:?}"),
        }
    }

    fn nonce(&self) -> String {
        let challenge = self.challenge();
        let (_, rest) = challenge.split_once("nonce=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }
}

fn md5(text: &str) -> String {
    super::digest::hex(&Md5::digest(text.as_bytes()))
}

fn answer(password: &str, nonce: &str, count: &str) -> String {
    let ha1 = md5(&format!("ann:here:{password}"));
    let response = md5(&format!("{ha1}:{nonce}:{count}:c:auth:{}", md5("GET:/containers/")));
    format!(
        "Digest username=\"ann\", realm=\"here\", nonce=\"{nonce}\", uri=\"/containers/\", algorithm=MD5, \
         response=\"{response}\", qop=auth, nc={count}, cnonce=\"c\""
    )
}

#[test]
fn digests_are_right_once_and_for_a_while() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, &format!("ann:here:{}\n", md5("ann:here:secret")));
    let guard = guard(Scheme::Digest, path).unwrap();
    let mut client = Asking { guard: &guard, now: Duration::from_secs(1000) };
    assert!(client.challenge().starts_with("Digest realm=\"here\", nonce=\""));
    assert!(client.challenge().ends_with("algorithm=MD5, qop=\"auth\""));

    let nonce = client.nonce();
    let first = answer("secret", &nonce, "00000001");
    let Decision::Granted { info: Some(info) } = client.ask(Some(&first)) else { panic!("not let in") };
    assert!(info.starts_with("qop=auth, rspauth=\"") && info.ends_with("nc=00000001"), "{info}");
    let is_stale = |decision: Decision| match decision {
        Decision::Denied { challenges, .. } => challenges[0].ends_with("stale=true"),
        other => panic!("let in: {other:?}"),
    };
    assert!(is_stale(client.ask(Some(&first))), "replayed");
    assert!(matches!(client.ask(Some(&answer("secret", &nonce, "00000002"))), Decision::Granted { .. }));
    assert!(!is_stale(client.ask(Some(&answer("Secret", &nonce, "00000003")))), "a wrong password");
    assert!(!is_stale(client.ask(Some(&first.replace("/containers/", "/docker/")))), "another address");
    assert!(is_stale(client.ask(Some(&answer("secret", &nonce.replace(&nonce[..4], "ffff"), "00000001")))), "made up");

    client.now += Duration::from_secs(301);
    assert!(is_stale(client.ask(Some(&answer("secret", &nonce, "00000004")))), "old");
    assert!(matches!(client.ask(Some(&answer("secret", &client.nonce(), "00000001"))), Decision::Granted { .. }));
}

#[test]
fn what_is_remembered_lets_in_at_once_but_is_no_oracle() {
    let folder = TempDir::new().unwrap();
    let guard = guard(Scheme::Basic, file(&folder, "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")).unwrap();
    let right = basic("ann:secret");
    let from = |address: [u8; 4], standing| {
        let client = Client::at(address.into());
        guard.check(&Attempt { client, standing, ..attempt(Some(&right)) })
    };
    let exhausted = Standing::Exhausted(Duration::from_secs(1));
    let (here, there, elsewhere) = ([10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3]);
    let Decision::Hash { hashing, .. } = from(here, Standing::Good(0)) else { panic!("known before it was hashed") };
    assert!(hashing.is_right());
    assert!(matches!(from(here, exhausted), Decision::Granted { .. }), "right from there before");
    assert!(matches!(from(there, exhausted), Decision::Hash { .. }), "others could guess at any speed");
    assert!(matches!(from(elsewhere, Standing::Good(3)), Decision::Granted { .. }));
    assert!(matches!(from(elsewhere, exhausted), Decision::Granted { .. }));
}

#[test]
fn wrong_and_endless_passwords_are_not_hashed_twice_or_at_all() {
    let folder = TempDir::new().unwrap();
    let guard = guard(Scheme::Basic, file(&folder, "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")).unwrap();
    let wrong = basic("ann:Secret");
    assert!(!granted(&guard, &wrong));
    let again = guard.check(&attempt(Some(&wrong)));
    assert!(matches!(again, Decision::Denied { presented: Presented::Wrong, .. }), "{again:?}");
    let endless = guard.check(&attempt(Some(&basic(&format!("ann:{}", "x".repeat(513))))));
    assert!(matches!(endless, Decision::Denied { presented: Presented::Wrong, .. }), "{endless:?}");
}
