//! Containers, machines and jobs whose name is in the path of their cgroup. Pure.
//!
//! LXC, systemd-nspawn, libvirt, Slurm and Nomad give their cgroups names that people know, so there is nobody to be asked
//! for them. What lies on disk about them is read elsewhere, and only makes the kind more exact. What is inside of such a
//! cgroup belongs to it, as with the containers of a runtime.

use std::collections::BTreeMap;

use crate::sample::identity::{Identity, Manager};

/// The labels that Nomad's Docker driver gives its containers; tasks of its other drivers get the same.
mod nomad_labels {
    pub(super) const ALLOCATION: &str = "com.hashicorp.nomad.alloc_id";
    pub(super) const TASK: &str = "com.hashicorp.nomad.task_name";
}

/// Letters of the id of one of Nomad's allocations, a UUID.
const ALLOCATION: usize = 36;
/// Where Nomad has the cgroups of its tasks: on cgroup v1, on v2 before 1.7, and since.
const NOMAD: [&str; 4] = ["/nomad", "/nomad.slice", "/nomad.slice/share.slice", "/nomad.slice/reserve.slice"];

/// Each shape takes the path above the last element, and the last element.
type Shape = fn(&str, &str) -> Option<Identity>;

const SHAPES: [Shape; 5] = [lxc, machined, libvirt, slurm, nomad];

/// Who the cgroup with this path is, if its path names it; it may be inside of another.
pub(super) fn identify(path: &[u8]) -> Option<Identity> {
    let (above, last) = str::from_utf8(path).ok()?.rsplit_once('/')?;
    SHAPES.iter().find_map(|shape| shape(above, last))
}

fn called(manager: Manager, name: &str) -> Option<Identity> {
    // What lies on disk about it is looked up by this name.
    let is_name = !name.is_empty() && !name.starts_with('.');
    is_name.then(|| Identity { name: Some(name.to_owned()), ..Identity::from_path(manager, name.to_owned()) })
}

/// `/lxc.payload.<name>` since LXC 4 (Incus and LXD too), also below a user's session; `/lxc/<name>` before, and of Proxmox.
fn lxc(above: &str, last: &str) -> Option<Identity> {
    let name = last.strip_prefix("lxc.payload.").or((above == "/lxc").then_some(last))?;
    called(Manager::Lxc, name)
}

/// Units of systemd-machined: `machine-<name>.scope` of whoever registered it, and nspawn's own service.
fn machined(above: &str, last: &str) -> Option<Identity> {
    let slice = above.rsplit('/').next()?;
    // libvirt's partitions are slices below.
    let slice = slice.strip_suffix(".slice")?;
    if slice != "machine" && !slice.starts_with("machine-") {
        return None;
    }
    if let Some(name) = last.strip_prefix("systemd-nspawn@").and_then(|name| name.strip_suffix(".service")) {
        return called(Manager::Nspawn, &unescaped(name));
    }
    let name = unescaped(last.strip_prefix("machine-")?.strip_suffix(".scope")?);
    match domain(&name) {
        Some(domain) => called(Manager::Libvirt, domain),
        None => called(Manager::Machined, &name),
    }
}

/// libvirt without systemd: `/machine/qemu-<number>-<name>.libvirt-qemu`, also in a partition.
fn libvirt(above: &str, last: &str) -> Option<Identity> {
    let is_partition = above.strip_prefix("/machine").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let name = last.strip_suffix(".libvirt-qemu").or_else(|| last.strip_suffix(".libvirt-lxc"))?;
    if is_partition { called(Manager::Libvirt, domain(name).unwrap_or(name)) } else { None }
}

/// The name in `<driver>-<number>-<name>`, as libvirt registers its domains.
fn domain(machine: &str) -> Option<&str> {
    let rest = machine.strip_prefix("qemu-").or_else(|| machine.strip_prefix("lxc-"))?;
    let (number, name) = rest.split_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !name.is_empty()).then_some(name)
}

/// A job of Slurm: `/slurm/uid_<uid>/job_<id>` on cgroup v1, `.../slurmstepd.scope/job_<id>` on v2; with several daemons on
/// a node its name is before or behind. Its steps are inside.
fn slurm(above: &str, last: &str) -> Option<Identity> {
    let id = last.strip_prefix("job_")?;
    let (higher, parent) = above.rsplit_once('/')?;
    let on_v1 = parent.starts_with("uid_") && (higher == "/slurm" || higher.starts_with("/slurm_"));
    let on_v2 = parent == "slurmstepd.scope" || parent.ends_with("_slurmstepd.scope");
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    (is_id && (on_v1 || on_v2))
        .then(|| Identity { name: Some(last.to_owned()), ..Identity::from_path(Manager::Slurm, id.to_owned()) })
}

/// A task of Nomad that runs without another runtime: `<allocation>.<task>`, a scope on cgroup v2.
fn nomad(above: &str, last: &str) -> Option<Identity> {
    if !NOMAD.contains(&above) {
        return None;
    }
    let (allocation, task) = last.strip_suffix(".scope").unwrap_or(last).split_at_checked(ALLOCATION)?;
    let task = task.strip_prefix('.').filter(|task| !task.is_empty())?;
    if !allocation.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        return None;
    }
    let labels = [(nomad_labels::ALLOCATION, allocation), (nomad_labels::TASK, task)];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Some(Identity {
        // As Nomad names its containers of Docker.
        name: Some(format!("{task}-{allocation}")),
        labels: BTreeMap::from(labels),
        ..Identity::from_path(Manager::Nomad, format!("{allocation}.{task}"))
    })
}

/// A part of a unit's name, in which systemd writes some bytes as `\xNN`.
fn unescaped(part: &str) -> String {
    let mut pieces = part.split("\\x");
    let mut out = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        match piece.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                out.extend_from_slice(&piece.as_bytes()[2..]);
            }
            None => out.extend_from_slice(&[b"\\x", piece.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOC: &str = "7f0f39a2-4f5c-4c9e-a2a5-0123456789ab";

    #[test]
    fn names_and_kinds_of_paths() {
        for (path, namespace, id, name) in [
            ("/lxc.payload.web", "lxc", "web", "web"),
            ("/lxc/101", "lxc", "101", "101"),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/lxc-web.scope/lxc.payload.web",
                "lxc",
                "web",
                "web",
            ),
            ("/lxc.payload.project_web", "lxc", "project_web", "project_web"),
            ("/machine.slice/machine-build\\x2ddebian.scope", "machined", "build-debian", "build-debian"),
            ("/machine.slice/systemd-nspawn@web.service", "systemd-nspawn", "web", "web"),
            ("/machine.slice/machine-qemu\\x2d12\\x2ddb\\x2d1.scope", "libvirt", "db-1", "db-1"),
            ("/machine.slice/machine-lxc\\x2d431\\x2dold.scope", "libvirt", "old", "old"),
            ("/machine.slice/machine-prod.slice/machine-qemu\\x2d1\\x2ddb.scope", "libvirt", "db", "db"),
            ("/machine/qemu-3-db.libvirt-qemu", "libvirt", "db", "db"),
            ("/machine/prod.partition/db.libvirt-lxc", "libvirt", "db", "db"),
            ("/slurm/uid_1000/job_42", "slurm", "42", "job_42"),
            ("/slurm_node7/uid_0/job_42", "slurm", "42", "job_42"),
            ("/system.slice/slurmstepd.scope/job_42", "slurm", "42", "job_42"),
            ("/system.slice/node7_slurmstepd.scope/job_42", "slurm", "42", "job_42"),
            ("/nomad/ALLOC.web", "nomad", "ALLOC.web", "web-ALLOC"),
            ("/nomad.slice/ALLOC.web.1.scope", "nomad", "ALLOC.web.1", "web.1-ALLOC"),
            ("/nomad.slice/share.slice/ALLOC.web.scope", "nomad", "ALLOC.web", "web-ALLOC"),
            ("/nomad.slice/reserve.slice/ALLOC.web.scope", "nomad", "ALLOC.web", "web-ALLOC"),
        ] {
            let path = path.replace("ALLOC", ALLOC);
            let found = identify(path.as_bytes()).unwrap_or_else(|| panic!("{path}"));
            let expected = (namespace, id.replace("ALLOC", ALLOC), Some(name.replace("ALLOC", ALLOC)));
            assert_eq!((found.runtime.namespace(), found.id, found.name), expected, "{path}");
        }
    }

    #[test]
    fn what_only_looks_alike_is_nobody() {
        for path in [
            "/",
            "/lxc",
            "/lxc.payload.",
            "/lxc.payload...",
            "/lxc.monitor.web",
            "/lxc.monitor/101",
            "/lxc.pivot",
            "/machine.slice",
            "/machine.slice/machine-prod.slice",
            "/system.slice/machine-web.scope",
            "/system.slice/libvirtd.service",
            "/machinery/x.libvirt-qemu",
            "/slurm/uid_1000",
            "/slurm/system",
            "/slurm/uid_1000/job_x",
            "/system.slice/job_42",
            "/system.slice/slurmstepd.scope/system",
            "/nomad.slice/share.slice",
            "/nomad/share",
            "/nomad/no-allocation.web",
            "/nomad.slice/7f0f39a2-4f5c-4c9e-a2a5-0123456789ab.scope",
            "/system.slice/nginx.service",
        ] {
            assert_eq!(identify(path.as_bytes()), None, "{path}");
        }
        assert_eq!(identify(b"/lxc.payload.\xff"), None);
    }

    #[test]
    fn names_of_units_are_read_as_people_write_them() {
        assert_eq!(unescaped("a\\x2db"), "a-b");
        assert_eq!(unescaped("a\\x2"), "a\\x2");
        assert_eq!(unescaped("\\xc3\\xa4\\xzz"), "ä\\xzz");
    }
}
