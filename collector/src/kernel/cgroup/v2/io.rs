//! The io controller of cgroup v2: `io.stat`.

use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{device_number, lines, nested_fields, number};

/// One device of `io.stat`; a key the kernel did not print is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoStat {
    /// Device number.
    pub major: u32,
    /// Device number.
    pub minor: u32,
    /// `rbytes`.
    pub rbytes: Option<u64>,
    /// `wbytes`.
    pub wbytes: Option<u64>,
    /// `rios`.
    pub rios: Option<u64>,
    /// `wios`.
    pub wios: Option<u64>,
    /// `dbytes`: bytes discarded; since 4.20.
    pub dbytes: Option<u64>,
    /// `dios`: discards; since 4.20.
    pub dios: Option<u64>,
    /// `cost.usage`, microseconds; with the iocost policy (5.4) and its statistics, as the following.
    pub cost_usage: Option<u64>,
    /// `cost.wait`, microseconds.
    pub cost_wait: Option<u64>,
    /// `cost.indebt`, microseconds.
    pub cost_indebt: Option<u64>,
    /// `cost.indelay`, microseconds.
    pub cost_indelay: Option<u64>,
}

/// Gives each device of `io.stat` to `each`: lines of `8:0 rbytes=1 wbytes=2 ...`.
///
/// A device without counters is left out; some kernels print its number without ending the line. A counter that is not
/// understood costs itself; a row of no device, such as `(unknown) rbytes=7`, costs the row.
pub fn io_stat(text: &[u8], odd: &mut OddLines, mut each: impl FnMut(IoStat)) {
    for (line, text) in lines(text) {
        let mut device: Option<IoStat> = None;
        let mut counters = 0;
        for (key, value) in nested_fields(text) {
            let Some(value) = value else {
                // Words such as "(none)" follow the device on a few kernels.
                if let Some((major, minor)) = device_number(key) {
                    device.take().filter(|_| counters > 0).into_iter().for_each(&mut each);
                    device = Some(IoStat { major, minor, ..IoStat::default() });
                    counters = 0;
                }
                continue;
            };
            let Some(device) = device.as_mut() else {
                odd.note(line, "counters of no device", text);
                break;
            };
            let field = match key {
                b"rbytes" => &mut device.rbytes,
                b"wbytes" => &mut device.wbytes,
                b"rios" => &mut device.rios,
                b"wios" => &mut device.wios,
                b"dbytes" => &mut device.dbytes,
                b"dios" => &mut device.dios,
                b"cost.usage" => &mut device.cost_usage,
                b"cost.wait" => &mut device.cost_wait,
                b"cost.indebt" => &mut device.cost_indebt,
                b"cost.indelay" => &mut device.cost_indelay,
                _ => continue,
            };
            match number(value) {
                Some(value) => {
                    *field = Some(value);
                    counters += 1;
                }
                None => odd.note(line, "a counter that is not a number", text),
            }
        }
        device.filter(|_| counters > 0).into_iter().for_each(&mut each);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::odd_lines::without_odd_lines;
    use crate::kernel::text_formats::FormatError;

    fn all(text: &[u8]) -> Result<Vec<IoStat>, FormatError> {
        let mut devices = Vec::new();
        without_odd_lines(text, |text, odd| io_stat(text, odd, |device| devices.push(device))).map(|()| devices)
    }

    #[test]
    fn a_row_of_no_device_costs_itself() {
        let mut odd = OddLines::default();
        let mut devices = Vec::new();
        let text =
            b"(unknown) rbytes=7 wbytes=8\n8:0 rbytes=1 wbytes=x rios=3 wios=4\n9999999999:0 rbytes=5\n8:16 rbytes=6\n";
        io_stat(text, &mut odd, |device| devices.push((device.major, device.minor, device.rbytes, device.wbytes)));
        assert_eq!(devices, [(8, 0, Some(1), None), (8, 16, Some(6), None)]);
        assert_eq!(odd.count(), 3);
    }

    #[test]
    fn documented_forms() {
        let text = b"\
8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0
253:0 rbytes=90 wbytes=1 rios=2 wios=3 dbytes=5 dios=6 cost.vrate=100.00 cost.usage=7 cost.wait=8 cost.indebt=9 cost.indelay=10
";
        let devices = all(text).unwrap();
        assert_eq!(devices.len(), 2);
        assert_eq!((devices[0].major, devices[0].minor, devices[0].wbytes), (8, 16, Some(314_773_504)));
        assert_eq!(devices[0].cost_usage, None);
        assert_eq!((devices[1].rios, devices[1].wios), (Some(2), Some(3)));
        assert_eq!((devices[1].dbytes, devices[1].dios), (Some(5), Some(6)));
        assert_eq!((devices[1].cost_usage, devices[1].cost_indelay), (Some(7), Some(10)));
        assert_eq!(all(b""), Ok(vec![]));
    }

    #[test]
    fn devices_without_counters_share_a_line() {
        let devices = all(b"7:1 7:0 8:0 rbytes=1 wbytes=2 rios=3 wios=4\n8:16\n").unwrap();
        assert_eq!(devices.len(), 1);
        assert_eq!((devices[0].major, devices[0].minor, devices[0].rbytes), (8, 0, Some(1)));
        assert!(all(b"rbytes=1\n").is_err());
        assert_eq!(all(b"8:0 rbytes=x\n"), Err(FormatError::at(1, "a counter that is not a number")));
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200), likely in "[0-9:=rwbytesio \n]{0,80}") {
            let _ = (all(&text), all(likely.as_bytes()));
        }
    }
}
