//! What block devices have done: `/proc/diskstats`, one line for each device and partition.

use std::collections::HashMap;

use super::Survey;
use crate::kernel::HostRoots;
use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::lines;

/// The first eleven counters of a line; newer kernels add those of discards (4.18) and flushes (5.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Reads done.
    pub reads: u64,
    /// Reads merged with a queued one.
    pub reads_merged: u64,
    /// Sectors of 512 bytes read.
    pub sectors_read: u64,
    /// Milliseconds spent on reads.
    pub read_ms: u64,
    /// Writes done.
    pub writes: u64,
    /// Writes merged.
    pub writes_merged: u64,
    /// Sectors written.
    pub sectors_written: u64,
    /// Milliseconds spent on writes.
    pub write_ms: u64,
    /// Requests under way.
    pub in_progress: u64,
    /// Milliseconds with any request under way.
    pub io_ms: u64,
    /// Milliseconds of all requests, those under way included.
    pub weighted_io_ms: u64,
}

/// The counters of all devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskTable {
    by_number: HashMap<(u32, u32), DiskStats>,
    by_name: HashMap<String, DiskStats>,
}

impl DiskTable {
    /// The counters of what a file system is mounted from: by its path, since a btrfs has numbers of its own, or else by
    /// its number, since `/dev/mapper/root` is not the kernel's name.
    pub fn of(&self, device: &str, number: (u32, u32)) -> Option<DiskStats> {
        let by_name = device.strip_prefix("/dev/").and_then(|name| self.by_name.get(name));
        by_name.or_else(|| self.by_number.get(&number)).copied()
    }
}

/// The counters of all devices; none when the file cannot be read.
pub fn read(survey: &mut Survey, roots: &HostRoots) -> DiskTable {
    survey.lines(&roots.proc.join("diskstats"), parse).unwrap_or_default()
}

/// Parses lines such as ` 254  0 vda 100 2 800 30 50 1 400 20 0 45 50 0 0 0 0 5 1`.
/// A line of another form is noted and left out.
pub fn parse(content: &[u8], odd: &mut OddLines) -> DiskTable {
    let mut table = DiskTable::default();
    for (number, line) in lines(content) {
        let parsed = str::from_utf8(line).ok().and_then(parse_line);
        if let Some((number, name, stats)) = parsed {
            table.by_number.entry(number).or_insert(stats);
            table.by_name.entry(name.to_owned()).or_insert(stats);
        } else if !line.trim_ascii().is_empty() {
            odd.note(number, "not a disk's counters", line);
        }
    }
    table
}

fn parse_line(line: &str) -> Option<((u32, u32), &str, DiskStats)> {
    let mut fields = line.split_ascii_whitespace();
    let major = fields.next()?.parse().ok()?;
    let minor = fields.next()?.parse().ok()?;
    let name = fields.next()?;
    let mut number = || fields.next()?.parse::<u64>().ok();
    let stats = DiskStats {
        reads: number()?,
        reads_merged: number()?,
        sectors_read: number()?,
        read_ms: number()?,
        writes: number()?,
        writes_merged: number()?,
        sectors_written: number()?,
        write_ms: number()?,
        in_progress: number()?,
        io_ms: number()?,
        weighted_io_ms: number()?,
    };
    Some(((major, minor), name, stats))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::odd_lines::without_odd_lines;

    #[test]
    fn lines() {
        let text =
            b" 254       0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0\n";
        let expected = DiskStats {
            reads: 1,
            reads_merged: 2,
            sectors_read: 3,
            read_ms: 4,
            writes: 5,
            writes_merged: 6,
            sectors_written: 7,
            write_ms: 8,
            in_progress: 9,
            io_ms: 10,
            weighted_io_ms: 11,
        };
        let found = without_odd_lines(text, parse).unwrap();
        assert_eq!(found.of("/dev/vda", (0, 42)), Some(expected));
        assert_eq!(found.of("/dev/mapper/root", (254, 0)), Some(expected));
        assert_eq!(found.of("/dev/loop0", (7, 0)), Some(DiskStats::default()));
        assert_eq!(found.of("tank/data", (0, 50)), None);
        for broken in ["8 0 sda 1 2 3", "x 0 sda 1 2 3 4 5 6 7 8 9 10 11", "8 0 sda 1 2 3 4 5 6 7 8 9 10 -1"] {
            assert!(without_odd_lines(broken.as_bytes(), parse).is_err(), "{broken:?}");
            let beside = [broken.as_bytes(), b"\n", text].concat();
            assert_eq!(parse(&beside, &mut OddLines::default()), found, "{broken:?}");
        }
        assert_eq!(parse(b"", &mut OddLines::default()), DiskTable::default());
    }

    proptest! {
        #[test]
        fn never_panics(content: Vec<u8>) {
            let _ = parse(&content, &mut OddLines::default());
        }
    }
}
