//! Network devices of the host: `/sys/class/net`.

use super::Survey;
use crate::kernel::HostRoots;

/// Prefixes of devices that are not the machine's own: loopback and what container engines make. cAdvisor's list; it
/// is a test on the prefix, so a device named `lobby0` is left out too.
const NOT_LISTED: [&str; 4] = ["lo", "veth", "docker", "nerdctl"];

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkDevice {
    /// Its name.
    pub name: String,
    /// `address`, as the kernel prints it.
    pub address: String,
    /// `mtu`, in bytes.
    pub mtu: i64,
    /// `speed`, in Mbit/s: -1 when the driver does not know it. Absent when the link is down (the file gives `EINVAL`).
    pub speed_mbit: Option<i64>,
}

/// The devices, sorted by name, without loopback, veth and bridges of container engines.
///
/// `None` when the directory cannot be read; a device that ends while it is read is left out.
pub fn network_devices(survey: &mut Survey, roots: &HostRoots) -> Option<Vec<NetworkDevice>> {
    let directory = roots.sys.join("class/net");
    let names = survey.names(&directory)?;
    let devices = names.into_iter().filter(|name| is_listed(name)).filter_map(|name| {
        // Files such as bonding_masters lie beside the devices; below them nothing is found.
        let device = directory.join(&name);
        let address = survey.text(&device.join("address"))?;
        let mtu = survey.number(&device.join("mtu"))?;
        let speed_mbit = survey.number(&device.join("speed"));
        Some(NetworkDevice { name, address, mtu, speed_mbit })
    });
    Some(devices.collect())
}

/// Whether a device of this name counts as one of the machine.
pub fn is_listed(name: &str) -> bool {
    !NOT_LISTED.iter().any(|prefix| name.starts_with(prefix))
}
