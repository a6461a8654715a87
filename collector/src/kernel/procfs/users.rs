//! The host's users: `/etc/passwd`. Users that only a directory service knows are not listed.

use std::collections::HashMap;

use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::file;
use crate::kernel::file::ReadBuffer;
use crate::kernel::text_formats::{lines, number};

/// Names by user id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(HashMap<u32, Box<str>>);

impl Users {
    /// Reads the host's `/etc/passwd`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(roots: &HostRoots, buffer: &mut ReadBuffer) -> Result<Self, ReadError> {
        file::read(&roots.rootfs.join("etc/passwd"), buffer).map(Self::parse)
    }

    /// Parses lines such as `daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin`. Anything else is passed over; of several
    /// names of one id the first counts, as in the C library.
    pub fn parse(text: &[u8]) -> Self {
        let mut users = HashMap::new();
        for (_, line) in lines(text) {
            let mut fields = line.split(|byte| *byte == b':');
            let (Some(name), Some(_), Some(id)) = (fields.next(), fields.next(), fields.next()) else { continue };
            if let Some(id) = number(id).and_then(|id| u32::try_from(id).ok())
                && !name.is_empty()
            {
                users.entry(id).or_insert_with(|| String::from_utf8_lossy(name).into());
            }
        }
        Self(users)
    }

    /// The user's name.
    pub fn name(&self, id: u32) -> Option<&str> {
        self.0.get(&id).map(|name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_by_id() {
        let text =
            b"root:x:0:0:root:/root:/bin/bash\n# comment\nbroken\ntoor:x:0:0::/:\nwww-data:x:33:33:www\n+::::::\n\
                     odd:x:-1:0::/:\nlarge:x:4294967296:0::/:\n:x:7:7::/:";
        let users = Users::parse(text);
        assert_eq!((users.name(0), users.name(33)), (Some("root"), Some("www-data")));
        assert_eq!((users.name(7), users.name(1), users.0.len()), (None, None, 2));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-z:0-9\n]{0,100}") {
            Users::parse(text.as_bytes());
        }
    }
}
