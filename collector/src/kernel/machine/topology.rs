//! Processors, their caches and NUMA nodes: `/sys/devices/system/cpu` and `/sys/devices/system/node`.

use std::path::PathBuf;

use super::memory::{HugePages, MemInfo, huge_pages_in};
use super::{Survey, numbered};
use crate::kernel::HostRoots;
use crate::kernel::text_formats::FormatError;

/// More CPUs than any kernel can be built for (`NR_CPUS`), so that a broken list cannot ask for gigabytes.
const MOST_CPUS: u32 = 1 << 16;

/// Where one CPU sits: `/sys/devices/system/cpu/cpu<id>/topology`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// The kernel's number.
    pub id: u32,
    /// `core_id`: the hardware's number, unique in its package at best.
    pub core_id: Option<i32>,
    /// `physical_package_id`: the socket; -1 where the firmware does not report it.
    pub physical_package_id: Option<i32>,
    /// `book_id` (s390x).
    pub book_id: Option<String>,
    /// `drawer_id` (s390x).
    pub drawer_id: Option<String>,
}

/// The CPUs that are switched on, by number. An absent list (`online`) means that CPUs cannot be switched off.
///
/// `None` when the directory cannot be read.
pub fn cpus(survey: &mut Survey, roots: &HostRoots) -> Option<Vec<Cpu>> {
    let directory = roots.sys.join("devices/system/cpu");
    let online = survey.parsed(&directory.join("online"), parse_cpu_list);
    let mut ids = numbers(&survey.names(&directory)?, "cpu");
    if let Some(online) = online {
        ids.retain(|id| online.binary_search(id).is_ok());
    }
    let cpus = ids.into_iter().map(|id| {
        let topology = directory.join(format!("cpu{id}/topology"));
        Cpu {
            id,
            core_id: survey.number(&topology.join("core_id")),
            physical_package_id: survey.number(&topology.join("physical_package_id")),
            book_id: survey.text(&topology.join("book_id")),
            drawer_id: survey.text(&topology.join("drawer_id")),
        }
    });
    Some(cpus.collect())
}

/// A NUMA node: `/sys/devices/system/node/node<id>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumaNode {
    /// The kernel's number.
    pub id: u32,
    /// Its CPUs, switched on or not, by number; none on a node that is only memory.
    pub cpus: Vec<u32>,
    /// `meminfo`, line `MemTotal`, in KiB.
    pub mem_total_kb: Option<u64>,
    /// `hugepages`.
    pub huge_pages: Option<Vec<HugePages>>,
    /// `distance`: to every node in the order of their numbers, 10 to itself.
    pub distances: Option<Vec<u64>>,
}

/// The NUMA nodes, by number; none when the kernel is built without NUMA.
pub fn numa_nodes(survey: &mut Survey, roots: &HostRoots) -> Vec<NumaNode> {
    let directory = roots.sys.join("devices/system/node");
    let names = survey.names(&directory).unwrap_or_default();
    let nodes = numbers(&names, "node").into_iter().map(|id| {
        let directory = directory.join(format!("node{id}"));
        NumaNode {
            id,
            cpus: numbers(&survey.names(&directory).unwrap_or_default(), "cpu"),
            mem_total_kb: survey.lines(&directory.join("meminfo"), MemInfo::parse).and_then(|info| info.mem_total_kb),
            huge_pages: huge_pages_in(survey, &directory.join("hugepages")),
            distances: survey.parsed(&directory.join("distance"), parse_distances),
        }
    });
    nodes.collect()
}

/// A cache of one CPU: `/sys/devices/system/cpu/cpu<id>/cache/index*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// `id`: unique among the caches of its level and type. Absent on arm64 guests and before 4.10.
    pub id: Option<u32>,
    /// `size`, in KiB.
    pub size_kb: u64,
    /// `type`: `Data`, `Instruction` or `Unified`.
    pub kind: String,
    /// `level`, from 1.
    pub level: u32,
    /// CPUs that use it: bits set in `shared_cpu_map`.
    pub shared_by: u32,
}

/// The caches of a CPU in the order of their index; none when the kernel does not list them (arm64 guests).
///
/// A cache of which a file other than `id` cannot be read is left out.
pub fn caches(survey: &mut Survey, roots: &HostRoots, cpu: u32) -> Vec<Cache> {
    let directory = roots.sys.join(format!("devices/system/cpu/cpu{cpu}/cache"));
    let names = survey.names(&directory).unwrap_or_default();
    let caches = numbers(&names, "index").into_iter().filter_map(|index| {
        let directory = directory.join(format!("index{index}"));
        Some(Cache {
            id: survey.number(&directory.join("id")),
            size_kb: survey.parsed(&directory.join("size"), parse_cache_size)?,
            kind: survey.text(&directory.join("type"))?,
            level: survey.number(&directory.join("level"))?,
            shared_by: survey.parsed(&directory.join("shared_cpu_map"), count_cpus_in_mask)?,
        })
    });
    caches.collect()
}

/// The highest clock the first CPU can be set to: `cpu0/cpufreq/cpuinfo_max_freq`, in kHz. Absent without a cpufreq
/// driver, as in most virtual machines.
pub fn max_frequency_khz(survey: &mut Survey, roots: &HostRoots) -> Option<u64> {
    let path: PathBuf = roots.sys.join("devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
    survey.number(&path)
}

/// The numbers in names such as `cpu12`, ascending.
fn numbers(names: &[String], prefix: &str) -> Vec<u32> {
    let mut numbers = names.iter().filter_map(|name| numbered(name, prefix, "")).collect::<Vec<_>>();
    numbers.sort_unstable();
    numbers
}

/// Parses a list of CPUs such as `0-3,8` into ascending numbers. An empty list is no CPU.
///
/// # Errors
/// Something else than numbers and ranges, a range that runs backwards, or a number above 65535.
pub fn parse_cpu_list(content: &[u8]) -> Result<Vec<u32>, FormatError> {
    const BROKEN: FormatError = FormatError { line: 1, what: "not a list of CPUs" };
    let content = std::str::from_utf8(content).map_err(|_| BROKEN)?.trim();
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number < MOST_CPUS).ok_or(BROKEN);
    let mut cpus = Vec::new();
    for part in content.split(',').filter(|_| !content.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || cpus.last().is_some_and(|previous| *previous >= first) {
            return Err(BROKEN);
        }
        cpus.extend(first..=last);
    }
    Ok(cpus)
}

/// `10 21`.
fn parse_distances(content: &[u8]) -> Result<Vec<u64>, FormatError> {
    const BROKEN: FormatError = FormatError { line: 1, what: "not a row of distances" };
    let content = std::str::from_utf8(content).map_err(|_| BROKEN)?;
    content.split_ascii_whitespace().map(|distance| distance.parse().map_err(|_| BROKEN)).collect()
}

/// `32768K`: the kernel knows no other unit here.
fn parse_cache_size(content: &[u8]) -> Result<u64, FormatError> {
    std::str::from_utf8(content)
        .ok()
        .and_then(|text| text.trim().strip_suffix('K'))
        .and_then(|number| number.parse().ok())
        .ok_or(FormatError { line: 1, what: "not a size such as 32K" })
}

/// `00000000,0000000f`: the number of bits.
fn count_cpus_in_mask(content: &[u8]) -> Result<u32, FormatError> {
    const BROKEN: FormatError = FormatError { line: 1, what: "not a mask of CPUs" };
    let content = std::str::from_utf8(content).map_err(|_| BROKEN)?;
    content.trim().split(',').try_fold(0_u32, |count, word| {
        let word = u64::from_str_radix(word, 16).map_err(|_| BROKEN)?;
        Ok(count.saturating_add(word.count_ones()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cpu_lists() {
        for (content, cpus) in [
            (&b"0-3,8,10-11\n"[..], Some(vec![0, 1, 2, 3, 8, 10, 11])),
            (b"0\n", Some(vec![0])),
            (b"\n", Some(vec![])),
            (b"3-1", None),
            (b"2,1", None),
            (b"0-4294967295", None),
            (b"0-", None),
            (b"a", None),
            (b"1,,2", None),
            (b"\xff", None),
        ] {
            assert_eq!(parse_cpu_list(content).ok(), cpus, "{}", String::from_utf8_lossy(content));
        }
    }

    #[test]
    fn small_formats() {
        assert_eq!(parse_distances(b"10 21 31\n"), Ok(vec![10, 21, 31]));
        assert!(parse_distances(b"10 x").is_err());
        assert_eq!(parse_cache_size(b"32768K\n"), Ok(32768));
        assert!(parse_cache_size(b"32M").is_err());
        assert_eq!(count_cpus_in_mask(b"00000000,0000000f\n"), Ok(4));
        assert_eq!(count_cpus_in_mask(b"3\n"), Ok(2));
        assert!(count_cpus_in_mask(b"").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(content: Vec<u8>, list in "[0-9,-]{0,30}") {
            let _ = parse_cpu_list(&content);
            let _ = parse_cpu_list(list.as_bytes());
            let _ = count_cpus_in_mask(&content);
            let _ = parse_distances(&content);
        }
    }
}
