//! Versions of Docker's API.

/// The newest version of the API that is spoken.
pub(crate) const NEWEST: ApiVersion = ApiVersion { major: 1, minor: 51 };
/// The oldest one: its clients read JSON errors, and every newer one is a superset in what is served here.
pub(crate) const OLDEST: ApiVersion = ApiVersion { major: 1, minor: 24 };

/// A version of Docker's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl ApiVersion {
    pub(super) fn parse(segment: &[u8]) -> Option<Self> {
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let (major, minor) = str::from_utf8(segment).ok()?.strip_prefix('v')?.split_once('.')?;
        Some(Self { major: number(major)?, minor: number(minor)? })
    }

    pub(crate) fn text(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }
}
