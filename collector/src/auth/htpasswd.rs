//! The password hashes that Apache's `htpasswd` writes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha_crypt::{Sha256Params, Sha512Params, sha256_crypt_b64, sha512_crypt_b64};
use subtle::ConstantTimeEq as _;

use super::md5_crypt::{Variant, md5_crypt};

/// SHA-crypt's rounds where the hash names none.
const DEFAULT_ROUNDS: usize = 5_000;
/// SHA-crypt with more of them would hold a thread for a minute.
const MOST_ROUNDS: usize = 5_000_000;

/// Where a hash of bcrypt has its cost, the logarithm of its rounds: `$2y$10$`.
const BCRYPT_COST: std::ops::Range<usize> = 4..6;

/// A hash of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// `$2y$` and its relatives.
    Bcrypt(String),
    /// `$apr1$` and `$1$`.
    Md5 { variant: Variant, salt: Vec<u8>, digest: Vec<u8> },
    /// `{SHA}`.
    Sha1(Vec<u8>),
    /// `$5$`.
    Sha256 { salt: Vec<u8>, rounds: usize, digest: Vec<u8> },
    /// `$6$`.
    Sha512 { salt: Vec<u8>, rounds: usize, digest: Vec<u8> },
}

impl Hash {
    /// Reads a hash.
    ///
    /// # Errors
    /// With what is wrong and what would be right.
    pub(super) fn parse(text: &[u8]) -> Result<Self, &'static str> {
        const INCOMPLETE: &str = "an incomplete hash";
        let text = str::from_utf8(text).map_err(|_| "a hash that is not text")?;
        if let Some(digest) = text.strip_prefix("{SHA}") {
            let digest = STANDARD.decode(digest).ok().filter(|digest| digest.len() == 20);
            return digest.map(Self::Sha1).ok_or(INCOMPLETE);
        }
        let Some(rest) = text.strip_prefix('$') else {
            return Err("neither a hash of bcrypt, MD5 or SHA nor {SHA}; write it with htpasswd -B");
        };
        let (kind, rest) = rest.split_once('$').ok_or(INCOMPLETE)?;
        let salted = |rest: &str, longest: usize| -> Result<(Vec<u8>, Vec<u8>), &'static str> {
            let (salt, digest) = rest.split_once('$').ok_or(INCOMPLETE)?;
            if digest.is_empty() || salt.len() > longest {
                return Err(INCOMPLETE);
            }
            Ok((salt.as_bytes().to_vec(), digest.as_bytes().to_vec()))
        };
        match kind {
            "2a" | "2b" | "2x" | "2y" => {
                let text = text.to_owned();
                let well_formed = text.len() == 60 && text.parse::<bcrypt::HashParts>().is_ok();
                if well_formed { Ok(Self::Bcrypt(text)) } else { Err(INCOMPLETE) }
            }
            "apr1" | "1" => {
                let variant = if kind == "apr1" { Variant::Apache } else { Variant::Unix };
                let (salt, digest) = salted(rest, 8)?;
                Ok(Self::Md5 { variant, salt, digest })
            }
            "5" | "6" => {
                let (rounds, rest) = match rest.strip_prefix("rounds=").and_then(|rest| rest.split_once('$')) {
                    Some((rounds, rest)) => (rounds.parse().map_err(|_| INCOMPLETE)?, rest),
                    None => (DEFAULT_ROUNDS, rest),
                };
                if rounds > MOST_ROUNDS {
                    return Err("more than 5,000,000 rounds of SHA-crypt");
                }
                let (salt, digest) = salted(rest, 16)?;
                Ok(if kind == "5" {
                    Self::Sha256 { salt, rounds, digest }
                } else {
                    Self::Sha512 { salt, rounds, digest }
                })
            }
            _ => Err("a kind of hash that is not supported; write it with htpasswd -B"),
        }
    }

    /// Whether checking a password against it takes as long as against another.
    pub(super) fn takes_as_long_as(&self, other: &Self) -> bool {
        match (self, other) {
            // Whatever the version.
            (Self::Bcrypt(one), Self::Bcrypt(other)) => one.get(BCRYPT_COST) == other.get(BCRYPT_COST),
            (Self::Md5 { .. }, Self::Md5 { .. }) | (Self::Sha1(_), Self::Sha1(_)) => true,
            (Self::Sha256 { rounds: one, .. }, Self::Sha256 { rounds: other, .. })
            | (Self::Sha512 { rounds: one, .. }, Self::Sha512 { rounds: other, .. }) => one == other,
            _ => false,
        }
    }

    /// Whether it is this password's.
    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Md5 { variant, salt, digest } => {
                md5_crypt(password, salt, *variant).as_slice().ct_eq(digest.as_slice()).into()
            }
            Self::Sha1(digest) => {
                let own = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, password);
                own.as_ref().ct_eq(digest.as_slice()).into()
            }
            Self::Sha256 { salt, rounds, digest } => {
                let own = Sha256Params::new(*rounds).and_then(|params| sha256_crypt_b64(password, salt, &params));
                own.is_ok_and(|own| own.as_bytes().ct_eq(digest.as_slice()).into())
            }
            Self::Sha512 { salt, rounds, digest } => {
                let own = Sha512Params::new(*rounds).and_then(|params| sha512_crypt_b64(password, salt, &params));
                own.is_ok_and(|own| own.as_bytes().ct_eq(digest.as_slice()).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made from `secret` by openssl, and the last by libxcrypt.
    const HASHES: [&str; 6] = [
        "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0",
        "$1$saltsalt$9xy1btjgzLYfb7hivXtC//",
        "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA",
        "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
        "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
    ];

    #[test]
    fn every_kind_knows_its_password() {
        for text in HASHES {
            let hash = Hash::parse(text.as_bytes()).unwrap();
            assert!(hash.is_of(b"secret"), "{text}");
            assert!(!hash.is_of(b"Secret") && !hash.is_of(b"") && !hash.is_of(&[b'x'; 300]), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, part) in [
            ("rqXexS6ZhobKA", "neither a hash"),
            ("secret", "neither a hash"),
            ("", "neither a hash"),
            ("$apr1$abc", "incomplete"),
            ("$2y$05$abc", "incomplete"),
            ("{SHA}abc", "incomplete"),
            ("$6$rounds=99999999$salt$x", "rounds"),
            ("$y$j9T$x", "not supported"),
        ] {
            let error = Hash::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
