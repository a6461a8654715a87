//! MD5-crypt as Unix and Apache have it: a thousand rounds of MD5. Old and weak, but what `htpasswd` writes by
//! default.

use md5::{Digest as _, Md5};

/// Which of the two, which differ in what goes into the hash before the salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// `$apr1$`
    Apache,
    /// `$1$`
    Unix,
}

impl Variant {
    const fn magic(self) -> &'static [u8] {
        match self {
            Self::Apache => b"$apr1$",
            Self::Unix => b"$1$",
        }
    }
}

/// The digits of crypt's base 64.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Which bytes of the digest go into each group of four digits, the most significant first.
const GROUPS: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];

/// The hash: 22 digits.
pub(super) fn md5_crypt(password: &[u8], salt: &[u8], variant: Variant) -> Vec<u8> {
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut outer = Md5::new().chain_update(password).chain_update(variant.magic()).chain_update(salt);
    for block in password.chunks(16) {
        outer.update(&inner[..block.len()]);
    }
    // The length, bit by bit: a zero for each one, the password's first byte for each zero.
    let mut length = password.len();
    while length > 0 {
        outer.update(if length & 1 == 1 { &[0][..] } else { &password[..1] });
        length >>= 1;
    }
    let mut digest = outer.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        if round % 2 == 1 {
            next.update(password);
        } else {
            next.update(digest);
        }
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        if round % 2 == 1 {
            next.update(digest);
        } else {
            next.update(password);
        }
        digest = next.finalize();
    }
    let mut out = Vec::with_capacity(22);
    let mut append = |mut value: usize, digits: usize| {
        for _ in 0..digits {
            out.push(DIGITS[value & 63]);
            value >>= 6;
        }
    };
    for [high, middle, low] in GROUPS {
        let bytes = [high, middle, low].map(|at| usize::from(digest[at]));
        append(bytes[0] << 16 | bytes[1] << 8 | bytes[2], 4);
    }
    append(usize::from(digest[11]), 2);
    out
}
