//! What the environment tells the tests.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::Result;

/// Names the collector to test.
pub(crate) const COLLECTOR_BIN: &str = "COLLECTOR_BIN";
/// Names the image to test.
pub(crate) const COLLECTOR_IMAGE: &str = "COLLECTOR_IMAGE";
/// Set to `1` inside a virtual machine, where everything is about ten times slower.
const TEST_VM: &str = "COLLECTOR_TEST_VM";

/// The settings of this run.
pub(crate) struct Settings {
    /// The collector to start.
    pub(crate) collector: PathBuf,
    /// The image of `cargo xtask image` to start; it need not be there.
    pub(crate) image: PathBuf,
    /// How much longer than on real hardware everything may take.
    pub(crate) slowness: u32,
}

/// The settings of this run.
pub(crate) fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let built = |path: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(path);
        let setting = |name: &str| env::var_os(name).map(PathBuf::from);
        Settings {
            collector: setting(COLLECTOR_BIN).unwrap_or_else(|| built("release/collector")),
            image: setting(COLLECTOR_IMAGE).unwrap_or_else(|| built("image/collector.tar")),
            slowness: if in_vm() { 10 } else { 1 },
        }
    })
}

/// Whether this runs inside the virtual machine of `cargo xtask vm`.
pub(crate) fn in_vm() -> bool {
    env::var_os(TEST_VM).is_some_and(|value| value == "1")
}

/// Major and minor version of the running kernel.
pub(crate) fn kernel() -> Result<(u32, u32)> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        super::bail!("a kernel release without numbers: {release}")
    };
    Ok((major, minor))
}
