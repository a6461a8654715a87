//! `/proc/cpuinfo`: a block of `key : value` lines per CPU, with other keys on each architecture.

use std::collections::BTreeSet;

/// What is of use in `/proc/cpuinfo`. A count of 0 means the architecture has no such line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuInfo {
    /// `vendor_id` of the first CPU, up to the first character that is neither letter, digit nor `_`.
    pub vendor_id: Option<String>,
    /// `cpu MHz`, `CPU MHz` (some MIPS) or `clock` (POWER) of the first CPU that has it, in kHz. It is the clock of
    /// this moment, not the highest.
    pub frequency_khz: Option<u64>,
    /// Different pairs of `physical id` and `core id`: the ids of cores count from 0 in every socket.
    pub cores: u32,
    /// Different values of `physical id`.
    pub physical_ids: u32,
    /// Different values of `book id` (s390x).
    pub book_ids: u32,
    /// Different values of `drawer id` (s390x).
    pub drawer_ids: u32,
}

impl CpuInfo {
    /// Parses the file. Lines of another shape are passed over: every architecture has its own.
    pub fn parse(content: &str) -> Self {
        let mut info = Self::default();
        let (mut cores, mut sockets, mut books, mut drawers) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut socket = "";
        for line in content.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            let ids = match key.trim() {
                // Begins the block of another CPU, in which the socket comes before the core.
                "processor" => {
                    socket = "";
                    continue;
                }
                "core id" if is_id(value) => {
                    cores.insert((socket, value));
                    continue;
                }
                "physical id" => {
                    socket = value;
                    &mut sockets
                }
                "book id" => &mut books,
                "drawer id" => &mut drawers,
                "vendor_id" => {
                    let word = value.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
                    if info.vendor_id.is_none() && !word.is_empty() {
                        info.vendor_id = Some(word.to_owned());
                    }
                    continue;
                }
                "cpu MHz" | "CPU MHz" | "clock" => {
                    info.frequency_khz = info.frequency_khz.or_else(|| khz(value));
                    continue;
                }
                _ => continue,
            };
            if is_id(value) {
                ids.insert(value);
            }
        }
        info.cores = cores.len() as u32;
        info.physical_ids = sockets.len() as u32;
        info.book_ids = books.len() as u32;
        info.drawer_ids = drawers.len() as u32;
        info
    }
}

fn is_id(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
}

/// `2599.996` or `3425.000000MHz`. The product is cut, not rounded, as cAdvisor does it.
fn khz(value: &str) -> Option<u64> {
    let mhz = value.strip_suffix("MHz").unwrap_or(value).parse::<f64>().ok()?;
    if mhz.is_finite() && mhz >= 0.0 { Some((mhz * 1000.0) as u64) } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn architectures() {
        let x86 = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu MHz\t\t: 2599.996\nphysical id\t: 0\ncore id\t\t: 0\n\n\
                   processor\t: 1\nvendor_id\t: Other\ncpu MHz\t\t: 800.000\nphysical id\t: 0\ncore id\t\t: 1\n\n\
                   processor\t: 2\nphysical id\t: 1\ncore id\t\t: 0\n\nprocessor\t: 3\nphysical id\t: 1\ncore id\t\t: 1\n";
        let power = "processor\t: 0\ncpu\t\t: POWER9 (raw), altivec supported\nclock\t\t: 3425.000000MHz\n";
        let s390 = "vendor_id       : IBM/S390\ncpu number      : 0\nphysical id     : 1\ncore id         : 0\n\
                    book id         : 2\ndrawer id       : 3\ncpu MHz dynamic : 5200\ncpu MHz static  : 5200\n";
        let arm = "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU part\t: 0xd08\n";
        let intel = Some("GenuineIntel".to_owned());
        for (content, expected) in [
            (
                x86,
                CpuInfo {
                    vendor_id: intel,
                    frequency_khz: Some(2_599_996),
                    cores: 4,
                    physical_ids: 2,
                    ..CpuInfo::default()
                },
            ),
            (power, CpuInfo { frequency_khz: Some(3_425_000), ..CpuInfo::default() }),
            (
                s390,
                CpuInfo {
                    vendor_id: Some("IBM".to_owned()),
                    frequency_khz: None,
                    cores: 1,
                    physical_ids: 1,
                    book_ids: 1,
                    drawer_ids: 1,
                },
            ),
            (arm, CpuInfo::default()),
            ("", CpuInfo::default()),
            ("cpu MHz : x\ncpu MHz : -1\ncpu MHz : inf\nvendor_id :\ncore id : -1\ncore id :\n", CpuInfo::default()),
        ] {
            assert_eq!(CpuInfo::parse(content), expected, "{content}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(content: String) {
            let _ = CpuInfo::parse(&content);
        }

        #[test]
        fn never_panics_on_lines_like_its_own(
            lines in proptest::collection::vec("(core id|physical id|vendor_id|cpu MHz|clock)[ \t]*:.{0,20}", 0..20)
        ) {
            let _ = CpuInfo::parse(&lines.join("\n"));
        }
    }
}
