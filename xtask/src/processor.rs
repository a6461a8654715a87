//! The processors that the collector is made for, by the names that others have for them.

use anyhow::{Context as _, Result};

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Processor {
    /// `x86_64`, which Debian and images call amd64
    #[value(name = "x86_64", alias = "amd64")]
    Amd64,
    /// `aarch64`, which Debian and images call arm64
    #[value(name = "aarch64", alias = "arm64")]
    Arm64,
}

impl Processor {
    const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// That of this machine.
    pub(crate) fn host() -> Result<Self> {
        let arch = std::env::consts::ARCH;
        let host = Self::ALL.into_iter().find(|processor| processor.rpm() == arch);
        host.with_context(|| format!("nothing is made for {arch}"))
    }

    /// What Debian, images and our files call it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// What RPM, the kernel and Rust call it.
    pub(crate) fn rpm(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// Rust's target.
    pub(crate) fn triple(self) -> String {
        format!("{}-unknown-linux-gnu", self.rpm())
    }

    /// What the GNU tools that make programs for it from another machine begin with.
    pub(crate) fn tools(self) -> String {
        format!("{}-linux-gnu", self.rpm())
    }
}
