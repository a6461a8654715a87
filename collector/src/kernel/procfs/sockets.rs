//! The sockets of a process's network namespace and what its TCP counted: `/proc/<pid>/net/{tcp,udp,snmp,netstat}`.
//!
//! The kernel walks through all sockets of the machine, whatever their namespace, for each reading of `tcp` and `udp`.

use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{FormatError, lines, number, words};

/// TCP's states are numbered from 1 to 11 (`include/net/tcp_states.h`); at 0 is what is in none of them.
pub const TCP_STATES: usize = 12;

/// The rows of a socket list, which begin with a number and a colon. The header and, noted, other lines are left out.
fn rows<'a>(text: &'a [u8], odd: &mut OddLines, mut each: impl FnMut(&'a [u8]) -> Result<(), &'static str>) {
    for (line, text) in lines(text) {
        let is_row = match words(text).next() {
            None | Some(b"sl") => continue,
            Some(first) => first.strip_suffix(b":").is_some_and(|slot| number(slot).is_some()),
        };
        if line == 1 && !is_row {
            continue;
        }
        let read = if is_row { each(text) } else { Err("no row of a socket") };
        if let Err(what) = read {
            odd.note(line, what, text);
        }
    }
}

/// How many sockets are in which state, by the number of the state: `net/tcp`, `net/tcp6`, fourth column. A line without
/// one is noted and left out.
pub fn tcp_states(text: &[u8], odd: &mut OddLines) -> [u64; TCP_STATES] {
    let mut counts = [0; TCP_STATES];
    rows(text, odd, |row| {
        let state = words(row).nth(3).and_then(hexadecimal).ok_or("no state")?;
        let known = usize::try_from(state).ok().filter(|state| *state < TCP_STATES).unwrap_or(0);
        counts[known] += 1;
        Ok(())
    });
    counts
}

/// The sockets of `net/udp` or `net/udp6`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Udp {
    /// Lines.
    pub sockets: u64,
    /// Sum of `drops`; not in kernels before 2.6.27.
    pub drops: u64,
    /// Sum of `tx_queue`, bytes.
    pub tx_queue: u64,
    /// Sum of `rx_queue`, bytes.
    pub rx_queue: u64,
}

impl Udp {
    /// Parses the file. A line without queues is noted and left out.
    pub fn parse(text: &[u8], odd: &mut OddLines) -> Self {
        let mut sum = Self::default();
        rows(text, odd, |row| {
            let mut columns = words(row);
            let queues = columns.nth(4).and_then(|queues| {
                let colon = queues.iter().position(|byte| *byte == b':')?;
                Some((hexadecimal(&queues[..colon])?, hexadecimal(&queues[colon + 1..])?))
            });
            let (tx_queue, rx_queue) = queues.ok_or("no tx_queue:rx_queue")?;
            let drops = columns.nth(7).and_then(number).unwrap_or(0);
            sum.sockets += 1;
            sum.tx_queue = sum.tx_queue.saturating_add(tx_queue);
            sum.rx_queue = sum.rx_queue.saturating_add(rx_queue);
            sum.drops = sum.drops.saturating_add(drops);
            Ok(())
        });
        sum
    }
}

/// The counters of one protocol in `net/snmp` or `net/netstat`: a line of names and a line of values, both after
/// `<protocol>:`. Values may be negative. Nothing where the kernel has no such protocol.
///
/// # Errors
/// The two lines are not of the same length, or the second is missing.
pub fn counters<'a>(
    text: &'a [u8],
    protocol: &'a [u8],
) -> Result<impl Iterator<Item = (&'a [u8], &'a [u8])>, FormatError> {
    let rows = lines(text).filter_map(|(line, text)| {
        let row = text.strip_prefix(protocol)?.strip_prefix(b":")?;
        Some((line, row))
    });
    // The last row that is none of numbers names what the next one of numbers has.
    let (mut names, mut pair, mut unpaired) = (None, (&[][..], &[][..]), None);
    for (line, row) in rows {
        let is_of_values =
            words(row).next().is_some_and(|first| number(first.strip_prefix(b"-").unwrap_or(first)).is_some());
        unpaired = unpaired.or(Some(line));
        match names {
            _ if !is_of_values => names = Some(row),
            Some(of) if words(of).count() == words(row).count() => {
                (pair, unpaired) = ((of, row), None);
                break;
            }
            _ => {}
        }
    }
    match unpaired {
        None => Ok(words(pair.0).zip(words(pair.1))),
        Some(line) => Err(FormatError::at(line, "names and values differ in number")),
    }
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    let text = str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?;
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::odd_lines::without_odd_lines;

    const TCP: &[u8] = b"\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n\
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21 1 0000000000000000 100 0 0 10 0                  \n\
   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000003 00:00000000 00000000     0        0 23 1 0000000000000000 20 4 30 10 -1                 \n\
   2: 0100007F:9C40 0100007F:1F90 01 00000005:00000000 01:00000014 00000000     0        0 22 2 0000000000000000 20 4 30 10 -1                 \n\
   3: 0100007F:1F90 0100007F:9C42 06 00000000:00000000 03:00001767 00000000     0        0 0 3 0000000000000000                                  \n\
   4: 0100007F:1F90 0100007F:9C44 0D 00000000:00000000 03:00001767 00000000     0        0 0 3 0000000000000000                                  \n";

    const UDP: &[u8] = b"\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops             \n\
  281: 00000000:0044 00000000:0000 07 00000010:00000300 00:00000000 00000000     0        0 15 2 0000000000000000 5         \n\
  325: 0100007F:0035 00000000:0000 07 00000001:00000020 00:00000000 00000000     0        0 16 2 0000000000000000 2         \n";

    const NETSTAT: &[u8] = b"\
TcpExt: SyncookiesSent TW TCPNew\n\
TcpExt: 0 5 7\n\
IpExt: InNoRoutes\n\
IpExt: 3\n";

    #[test]
    fn tcp_by_state() {
        let parse = |text: &[u8]| without_odd_lines(text, tcp_states);
        let counts = parse(TCP).unwrap();
        assert_eq!((counts[10], counts[1], counts[6], counts[0]), (1, 2, 1, 1));
        assert_eq!(counts.iter().sum::<u64>(), 5);
        assert_eq!(parse(b"  sl  local_address\n").unwrap(), [0; TCP_STATES]);
        assert!(parse(b" 0: a b\n").is_err() && parse(b" 0: a b XY\n").is_err() && parse(b"sl\nodd\n").is_err());
        let odd = [b" 0: a b\nodd a b 01\n", TCP].concat();
        assert_eq!(tcp_states(&odd, &mut OddLines::default()), counts);
    }

    #[test]
    fn udp_queues_are_the_right_way_round() {
        let expected = Udp { sockets: 2, drops: 7, tx_queue: 0x11, rx_queue: 0x320 };
        let parse = |text: &[u8]| without_odd_lines(text, Udp::parse);
        assert_eq!(parse(UDP), Ok(expected));
        let without_drops = b"  sl\n 0: a b 07 00000001:00000002 00:00000000 0 0 0 15\n";
        assert_eq!(parse(without_drops), Ok(Udp { sockets: 1, drops: 0, tx_queue: 1, rx_queue: 2 }));
        assert!(parse(b" 0: a b 07 1\n").is_err());
        assert_eq!(Udp::parse(&[b" 0: a b 07 1\n", UDP].concat(), &mut OddLines::default()), expected);
    }

    #[test]
    fn names_and_values_are_paired() {
        let pairs: Vec<_> = counters(NETSTAT, b"TcpExt").unwrap().collect();
        assert_eq!(pairs, [(&b"SyncookiesSent"[..], &b"0"[..]), (b"TW", b"5"), (b"TCPNew", b"7")]);
        assert_eq!(counters(NETSTAT, b"Tcp").unwrap().count(), 0);
        let doubled = b"Tcp: a b\nTcp: a b\nodd\nTcp: 1 -2\nTcp: 1 -2\n";
        let pairs: Vec<_> = counters(doubled, b"Tcp").unwrap().collect();
        assert_eq!(pairs, [(&b"a"[..], &b"1"[..]), (b"b", b"-2")]);
        assert!(counters(b"Tcp: a b\nTcp: 1\n", b"Tcp").is_err());
        assert!(counters(b"Tcp: a b\n", b"Tcp").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..300), likely in "h\n( [0-9A-F:]{1,20}){0,14}\n") {
            for text in [text.as_slice(), likely.as_bytes()] {
                let mut odd = OddLines::default();
                let _ = (tcp_states(text, &mut odd), Udp::parse(text, &mut odd), counters(text, b"").map(Iterator::count));
            }
        }
    }
}
