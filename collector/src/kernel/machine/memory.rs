//! Memory: `/proc/meminfo`, huge pages, and the memory modules that EDAC drivers know.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Survey, numbered};
use crate::kernel::HostRoots;
use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{self, lines, words};

/// What is of use in `/proc/meminfo`, or in a NUMA node's `meminfo`, which has no swap line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemInfo {
    /// `MemTotal`, in KiB.
    pub mem_total_kb: Option<u64>,
    /// `SwapTotal`, in KiB.
    pub swap_total_kb: Option<u64>,
}

impl MemInfo {
    /// Parses `MemTotal:       24684084 kB`, and the form of a NUMA node, `Node 0 MemTotal:       24684084 kB`. One of the
    /// two lines without a number is noted and left out.
    pub fn parse(content: &[u8], odd: &mut OddLines) -> Self {
        let mut info = Self::default();
        for (number, line) in lines(content) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let slot = match line[..colon].rsplit(|byte| *byte == b' ').next() {
                Some(b"MemTotal") => &mut info.mem_total_kb,
                Some(b"SwapTotal") => &mut info.swap_total_kb,
                _ => continue,
            };
            let mut fields = words(&line[colon + 1..]);
            match (fields.next().and_then(text_formats::number), fields.next(), fields.next()) {
                (Some(value), Some(b"kB"), None) => *slot = Some(value),
                _ => odd.note(number, "not a number of kB", line),
            }
        }
        info
    }
}

/// The huge pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugePages {
    /// Size of a page in KiB, from the directory's name.
    pub page_size_kb: u64,
    /// `nr_hugepages`: pages in the pool, used or not.
    pub nr_hugepages: u64,
}

/// The huge page pools of the machine: `/sys/kernel/mm/hugepages`. `None` when the kernel has none.
pub fn huge_pages(survey: &mut Survey, roots: &HostRoots) -> Option<Vec<HugePages>> {
    huge_pages_in(survey, &roots.sys.join("kernel/mm/hugepages"))
}

/// The huge page pools in a directory of `hugepages-<size>kB` directories, sorted by name.
pub fn huge_pages_in(survey: &mut Survey, directory: &Path) -> Option<Vec<HugePages>> {
    let names = survey.names(directory)?;
    let pools = names.iter().filter_map(|name| {
        let page_size_kb = numbered(name, "hugepages-", "kB")?;
        let nr_hugepages = survey.number(&directory.join(name).join("nr_hugepages"))?;
        Some(HugePages { page_size_kb, nr_hugepages })
    });
    Some(pools.collect())
}

/// Memory modules of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dimms {
    /// Sum of `size`, in MiB.
    pub size_mb: u64,
    /// How many.
    pub count: u64,
}

/// Memory modules by `dimm_mem_type`: `/sys/devices/system/edac/mc/mc*/dimm*`. `None` without an EDAC driver.
///
/// A slot of which either file cannot be read is left out.
pub fn dimms(survey: &mut Survey, roots: &HostRoots) -> Option<BTreeMap<String, Dimms>> {
    let directory = roots.sys.join("devices/system/edac/mc");
    let mut by_type = BTreeMap::<String, Dimms>::new();
    for controller in survey.names(&directory)? {
        if numbered::<u32>(&controller, "mc", "").is_none() {
            continue;
        }
        let controller = directory.join(controller);
        for slot in survey.names(&controller).unwrap_or_default() {
            if numbered::<u32>(&slot, "dimm", "").is_none() {
                continue;
            }
            let slot = controller.join(slot);
            let (Some(kind), Some(size_mb)) =
                (survey.text(&slot.join("dimm_mem_type")), survey.number::<u64>(&slot.join("size")))
            else {
                continue;
            };
            let dimms = by_type.entry(kind).or_default();
            dimms.size_mb = dimms.size_mb.saturating_add(size_mb);
            dimms.count += 1;
        }
    }
    Some(by_type)
}

/// The persistent memory the kernel knows, in bytes: the sizes of the regions of `/sys/bus/nd/devices` that are memory
/// and not block windows (`nstype` 4 or 5). `None` without any.
///
/// A region whose size cannot be read is left out.
pub fn persistent_regions(survey: &mut Survey, roots: &HostRoots) -> Option<u64> {
    let directory = roots.sys.join("bus/nd/devices");
    let mut sum = None;
    for name in survey.names(&directory)? {
        let region = directory.join(&name);
        if numbered::<u32>(&name, "region", "").is_none()
            || !matches!(survey.number::<u32>(&region.join("nstype")), Some(4 | 5))
        {
            continue;
        }
        if let Some(size) = survey.number::<u64>(&region.join("size")) {
            sum = Some(sum.unwrap_or(0_u64).saturating_add(size));
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::odd_lines::without_odd_lines;
    use crate::kernel::text_formats::FormatError;

    #[test]
    fn only_regions_of_memory_count() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        let roots = HostRoots { proc: at("proc"), sys: at("sys"), cgroup: at("cgroup"), rootfs: at("rootfs") };
        let mut survey = Survey::default();
        assert_eq!(persistent_regions(&mut survey, &roots), None);
        let devices = roots.sys.join("bus/nd/devices");
        for (name, nstype, size) in [
            ("region0", "4", "128849018880"),
            ("region1", "5", "128849018880"),
            ("region2", "6", "1"),
            ("namespace0.0", "4", "128849018880"),
        ] {
            std::fs::create_dir_all(devices.join(name)).unwrap();
            std::fs::write(devices.join(name).join("nstype"), format!("{nstype}\n")).unwrap();
            std::fs::write(devices.join(name).join("size"), format!("{size}\n")).unwrap();
        }
        assert_eq!(persistent_regions(&mut survey, &roots), Some(257_698_037_760));
        assert!(survey.into_errors().is_empty());
    }

    #[test]
    fn both_forms_of_meminfo() {
        for (content, expected) in [
            (
                "MemTotal:       24684084 kB\nMemFree:  1 kB\nSwapTotal:             8 kB\n",
                Ok(MemInfo { mem_total_kb: Some(24_684_084), swap_total_kb: Some(8) }),
            ),
            (
                "Node 0 MemTotal:       32864 kB\nNode 0 MemFree: 1 kB\n",
                Ok(MemInfo { mem_total_kb: Some(32864), swap_total_kb: None }),
            ),
            ("", Ok(MemInfo::default())),
            ("a\nMemTotal: x kB\n", Err(FormatError { line: 2, what: "not a number of kB" })),
            ("MemTotal: 18446744073709551616 kB\n", Err(FormatError { line: 1, what: "not a number of kB" })),
        ] {
            assert_eq!(without_odd_lines(content.as_bytes(), MemInfo::parse), expected, "{content}");
        }
    }
}
