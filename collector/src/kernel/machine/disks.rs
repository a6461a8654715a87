//! Block devices: `/sys/block`.

use std::path::Path;

use super::Survey;
use crate::kernel::HostRoots;
use crate::kernel::text_formats::FormatError;

/// Kinds of block devices that are not disks of the machine: loop devices, RAM disks, optical drives.
const NOT_DISKS: [&str; 3] = ["loop", "ram", "sr"];

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name, without `/dev/`.
    pub name: String,
    /// Major device number, from `dev`.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// `size`: sectors of 512 bytes, whatever the device's own sector size.
    pub size_sectors: u64,
    /// The name in brackets in `queue/scheduler`; absent when the device has no queue of its own or a bare `none`.
    pub scheduler: Option<String>,
}

/// The disks of the machine, sorted by name: all of `/sys/block` but loop devices, RAM disks, optical drives, and
/// devices that are marked `hidden` (single paths of a multipath `NVMe` disk, which have no device node).
///
/// `None` when the directory cannot be read; a disk of which `dev` or `size` cannot be read is left out.
pub fn disks(survey: &mut Survey, roots: &HostRoots) -> Option<Vec<Disk>> {
    let directory = roots.sys.join("block");
    let names = survey.names(&directory)?;
    let disks = names.into_iter().filter_map(|name| {
        let device = directory.join(&name);
        if !has_disk_name(&name) || is_hidden(survey, &device) {
            return None;
        }
        let (major, minor) = survey.parsed(&device.join("dev"), parse_device_number)?;
        let size_sectors = survey.number(&device.join("size"))?;
        let scheduler = survey.text(&device.join("queue/scheduler")).as_deref().and_then(active_scheduler);
        Some(Disk { name, major, minor, size_sectors, scheduler })
    });
    Some(disks.collect())
}

fn has_disk_name(name: &str) -> bool {
    !NOT_DISKS.iter().any(|prefix| name.starts_with(prefix))
}

fn is_hidden(survey: &mut Survey, device: &Path) -> bool {
    survey.text(&device.join("hidden")).is_some_and(|hidden| hidden == "1")
}

/// `254:0`.
pub(super) fn parse_device_number(content: &[u8]) -> Result<(u32, u32), FormatError> {
    std::str::from_utf8(content)
        .ok()
        .and_then(|text| text.trim().split_once(':'))
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
        .ok_or(FormatError { line: 1, what: "not a device number" })
}

/// `none [mq-deadline] kyber`: the one in brackets.
fn active_scheduler(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    let (name, _) = rest.split_once(']')?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedulers_and_numbers() {
        assert_eq!(active_scheduler("none [mq-deadline] kyber").as_deref(), Some("mq-deadline"));
        assert_eq!(active_scheduler("[none]").as_deref(), Some("none"));
        assert_eq!(active_scheduler("none"), None);
        assert_eq!(active_scheduler("]["), None);
        assert_eq!(parse_device_number(b"254:16\n"), Ok((254, 16)));
        for broken in [&b"254"[..], b":", b"a:b", b"\xff:1", b""] {
            assert!(parse_device_number(broken).is_err());
        }
    }
}
