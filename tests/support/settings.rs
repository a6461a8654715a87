//! What the environment sets for the tests.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::Result;

/// Names the collector to test.
pub(crate) const COLLECTOR_BIN: &str = "COLLECTOR_BIN";
/// Names the image to test.
pub(crate) const COLLECTOR_IMAGE: &str = "COLLECTOR_IMAGE";
/// Names the folder with packages to install. Only a machine made for it has one: what a test installs stays there.
const PACKAGES: &str = "COLLECTOR_PACKAGES";
/// Names a cAdvisor to compare with.
pub(crate) const CADVISOR_BIN: &str = "CADVISOR_BIN";
/// Names a Prometheus of 2.50 or later.
pub(crate) const PROMETHEUS_BIN: &str = "PROMETHEUS_BIN";
/// Names a Docker Compose of version 2.
pub(crate) const COMPOSE_BIN: &str = "COMPOSE_BIN";
/// Set to `1` inside a virtual machine, where everything is about ten times slower.
const TEST_VM: &str = "COLLECTOR_TEST_VM";

/// Set to `1` for a test when only the essential ones run.
pub(crate) const ESSENTIAL: &str = "COLLECTOR_TEST_ESSENTIAL";
/// Set inside a virtual machine to what the matrix calls its kernel.
const TEST_KERNEL: &str = "COLLECTOR_TEST_KERNEL";
/// Set inside a virtual machine to the layout of its cgroup hierarchies.
const TEST_CGROUPS: &str = "COLLECTOR_TEST_CGROUPS";

/// How cgroup hierarchies are laid out, as the virtual machine was configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cgroups {
    /// v1 hierarchies alone.
    V1,
    /// The same, and cgroup2 beside them.
    Hybrid,
    /// cgroup2 alone.
    V2,
}

/// The settings of this run.
pub(crate) struct Settings {
    /// The collector to start.
    pub(crate) collector: PathBuf,
    /// The image of `cargo xtask image` to start; it need not be there.
    pub(crate) image: PathBuf,
    /// The folder with packages to install, where that is what the machine is for.
    pub(crate) packages: Option<PathBuf>,
    /// A cAdvisor to compare with, where there is one.
    pub(crate) cadvisor: Option<PathBuf>,
    /// A Prometheus that knows when counters began, where there is one.
    pub(crate) prometheus: Option<PathBuf>,
    /// Docker Compose, where there is one.
    pub(crate) compose: Option<PathBuf>,
    /// How much longer than on real hardware everything may take.
    pub(crate) slowness: u32,
    /// The layout of hierarchies, where it was made for the tests.
    pub(crate) cgroups: Option<Cgroups>,
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
            packages: setting(PACKAGES).filter(|_| in_vm()),
            cadvisor: setting(CADVISOR_BIN),
            prometheus: setting(PROMETHEUS_BIN),
            compose: setting(COMPOSE_BIN),
            slowness: if in_vm() { 10 } else { 1 },
            cgroups: env::var(TEST_CGROUPS).ok().and_then(|name| match name.as_str() {
                "v1" => Some(Cgroups::V1),
                "hybrid" => Some(Cgroups::Hybrid),
                "v2" => Some(Cgroups::V2),
                _ => None,
            }),
        }
    })
}

/// How often to try something: the number that proves it, or one that suffices beside as many runs on other kernels.
pub(crate) fn times(all: usize, on_every_kernel: usize) -> usize {
    if env::var_os(ESSENTIAL).is_some_and(|value| value == "1") { on_every_kernel } else { all }
}

/// What the matrix calls this kernel; `None` on a machine that is not of the matrix.
pub(crate) fn kernel_name() -> Option<String> {
    env::var(TEST_KERNEL).ok().filter(|name| !name.is_empty())
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
