//! Network counters of a process's namespace: `/proc/<pid>/net/dev`.
//!
//! A descriptor kept open keeps a dead namespace alive; whoever keeps one has to know when to close it.

use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{lines, number, words};

/// Interfaces that are not counted, by the beginning of their name in any case: loopback and those that carry the
/// containers' traffic a second time.
const IGNORED: [&[u8]; 4] = [b"lo", b"veth", b"docker", b"nerdctl"];

/// One direction of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// `bytes`.
    pub bytes: u64,
    /// `packets`.
    pub packets: u64,
    /// `errs`.
    pub errs: u64,
    /// `drop`.
    pub drop: u64,
}

/// One line of `net/dev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceLine<'a> {
    /// The interface's name.
    pub name: &'a [u8],
    /// Received.
    pub receive: Counters,
    /// Sent.
    pub transmit: Counters,
}

impl InterfaceLine<'_> {
    /// Whether the interface is one of those that are not counted.
    pub fn is_ignored(&self) -> bool {
        let starts_with =
            |prefix: &&[u8]| self.name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        IGNORED.iter().any(starts_with)
    }
}

/// The interfaces of `net/dev`, in the file's order. A line that is neither one nor of the header is noted and left out.
pub fn interfaces<'a>(text: &'a [u8], odd: &'a mut OddLines) -> impl Iterator<Item = InterfaceLine<'a>> {
    lines(text).filter_map(|(line, text)| {
        let interface = interface(text);
        if interface.is_none() && !text.contains(&b'|') && !text.trim_ascii().is_empty() {
            odd.note(line, "not a name and sixteen numbers", text);
        }
        interface
    })
}

fn interface(line: &[u8]) -> Option<InterfaceLine<'_>> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = line[..colon].trim_ascii();
    let mut values = [0; 16];
    let mut fields = words(&line[colon + 1..]);
    for value in &mut values {
        *value = number(fields.next()?)?;
    }
    let counters =
        |at: usize| Counters { bytes: values[at], packets: values[at + 1], errs: values[at + 2], drop: values[at + 3] };
    (!name.is_empty()).then(|| InterfaceLine { name, receive: counters(0), transmit: counters(8) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECORDED: &[u8] = b"\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0     0       0          0
  eth0: 285698806    8608    1    2    3     4          5         6   558733    5700    7    8    9    10      11         12
";

    #[test]
    fn recorded() {
        let mut odd = OddLines::default();
        let all: Vec<_> = interfaces(RECORDED, &mut odd).collect();
        assert_eq!(all.len(), 2);
        assert!(all[0].is_ignored());
        assert_eq!(all[1].name, b"eth0");
        assert_eq!(all[1].receive, Counters { bytes: 285_698_806, packets: 8608, errs: 1, drop: 2 });
        assert_eq!(all[1].transmit, Counters { bytes: 558_733, packets: 5700, errs: 7, drop: 8 });
    }

    #[test]
    fn ignored_by_prefix_in_any_case() {
        let ignored = |name: &'static [u8]| {
            InterfaceLine { name, receive: Counters::default(), transmit: Counters::default() }.is_ignored()
        };
        for name in [&b"lo"[..], b"lo0x", b"VETH12", b"docker0", b"Nerdctl0"] {
            assert!(ignored(name), "{}", name.escape_ascii());
        }
        for name in [&b"eth0"[..], b"br-1", b"cni0", b"l", b"vet"] {
            assert!(!ignored(name), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn old_kernels_put_no_space_after_the_colon() {
        let text = b"h\nh\neth0:1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n";
        assert_eq!(interfaces(text, &mut OddLines::default()).next().unwrap().receive.bytes, 1);
        for wrong in [&b"h\nh\neth0: 1 2 3\n"[..], b"h\nh\neth0\n", b"h\nh\n: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n"] {
            let text = [wrong, b"eth1: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0 99\n"].concat();
            let mut odd = OddLines::default();
            assert_eq!(interfaces(&text, &mut odd).map(|line| line.name.to_vec()).collect::<Vec<_>>(), [b"eth1"]);
            assert_eq!(odd.count(), 3);
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..300), likely in "h\nh\n[a-z]{0,3}:([0-9]{1,21} ){0,18}") {
            let mut odd = OddLines::default();
            let _ = interfaces(&text, &mut odd).count();
            let _ = interfaces(likely.as_bytes(), &mut odd).count();
        }
    }
}
