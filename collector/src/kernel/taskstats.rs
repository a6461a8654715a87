//! How many tasks of a cgroup sleep, run or wait: `CGROUPSTATS_CMD_GET` of the kernel's taskstats interface over
//! generic netlink. Only for cgroup v1, and only the cgroup's own tasks, not those of its descendants.
//!
//! The kernel walks every task of the cgroup for one answer.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{GENERIC, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// `GENL_ID_CTRL`: the family that knows the others.
const CONTROL_FAMILY: u16 = 0x10;
/// `CTRL_CMD_GETFAMILY`.
const GET_FAMILY: u8 = 3;
/// `CTRL_ATTR_FAMILY_ID`.
const FAMILY_ID: u16 = 1;
/// `CTRL_ATTR_FAMILY_NAME`.
const FAMILY_NAME: u16 = 2;
/// `CGROUPSTATS_CMD_GET`.
const GET_CGROUP_STATS: u8 = 4;
/// `CGROUPSTATS_CMD_ATTR_FD`.
const CGROUP_FD: u16 = 1;
/// `CGROUPSTATS_TYPE_CGROUP_STATS`.
const CGROUP_STATS: u16 = 1;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `NLMSG_ERROR`.
const MESSAGE_ERROR: u16 = 2;
/// Bytes of `nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `genlmsghdr`.
const GENERIC_HEADER: usize = 4;
/// The kernel answers at once or not at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// `struct cgroupstats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupStats {
    /// `nr_sleeping`: interruptible sleep.
    pub sleeping: u64,
    /// `nr_running`: running or runnable.
    pub running: u64,
    /// `nr_stopped`.
    pub stopped: u64,
    /// `nr_uninterruptible`.
    pub uninterruptible: u64,
    /// `nr_io_wait`.
    pub io_wait: u64,
}

/// The interface could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TaskstatsError {
    /// A system call or the kernel's answer.
    #[error("taskstats (CONFIG_TASKSTATS): {0}")]
    Kernel(#[from] Errno),
    /// The answer is not what the kernel documents.
    #[error("taskstats (CONFIG_TASKSTATS): an answer without the expected attribute")]
    Malformed,
}

/// An open socket to the taskstats family.
#[derive(Debug)]
pub struct TaskstatsSocket {
    socket: OwnedFd,
    family: u16,
    sequence: u32,
}

impl TaskstatsSocket {
    /// Opens a socket and asks for the family's number.
    pub fn open() -> Result<Self, TaskstatsError> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(GENERIC))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WITHIN))?;
        let mut opened = Self { socket, family: CONTROL_FAMILY, sequence: 0 };
        let answer = opened.ask(GET_FAMILY, FAMILY_NAME, b"TASKSTATS\0", FAMILY_ID)?;
        opened.family = answer.first_chunk().copied().map(u16::from_ne_bytes).ok_or(TaskstatsError::Malformed)?;
        Ok(opened)
    }

    /// The tasks of the cgroup whose directory, in a v1 hierarchy, this descriptor is.
    pub fn cgroup(&mut self, directory: impl AsFd) -> Result<CgroupStats, TaskstatsError> {
        let descriptor = directory.as_fd().as_raw_fd().to_ne_bytes();
        let answer = self.ask(GET_CGROUP_STATS, CGROUP_FD, &descriptor, CGROUP_STATS)?;
        parse_stats(&answer).ok_or(TaskstatsError::Malformed)
    }

    /// Sends a request with one attribute and returns the payload of one attribute of the answer.
    fn ask(&mut self, command: u8, attribute: u16, payload: &[u8], wanted: u16) -> Result<Vec<u8>, TaskstatsError> {
        self.sequence = self.sequence.wrapping_add(1);
        let message = request(self.family, self.sequence, command, attribute, payload);
        sendto(&self.socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut answer = [0; 4096];
        loop {
            let (length, _) = recv(&self.socket, answer.as_mut_slice(), RecvFlags::empty())?;
            let message = Answer::parse(&answer[..length.min(4096)]).ok_or(TaskstatsError::Malformed)?;
            // An answer that came too late for an earlier question is passed over.
            if message.sequence == self.sequence {
                message.error()?;
                return message.attribute(wanted).map(<[u8]>::to_vec).ok_or(TaskstatsError::Malformed);
            }
        }
    }
}

fn request(family: u16, sequence: u32, command: u8, attribute: u16, payload: &[u8]) -> Vec<u8> {
    let attribute_length = 4 + payload.len();
    let length = HEADER + GENERIC_HEADER + attribute_length.next_multiple_of(4);
    let mut message = Vec::with_capacity(length);
    message.extend_from_slice(&(length as u32).to_ne_bytes());
    message.extend_from_slice(&family.to_ne_bytes());
    message.extend_from_slice(&REQUEST.to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    message.extend_from_slice(&0_u32.to_ne_bytes());
    message.extend_from_slice(&[command, 1, 0, 0]);
    message.extend_from_slice(&(attribute_length as u16).to_ne_bytes());
    message.extend_from_slice(&attribute.to_ne_bytes());
    message.extend_from_slice(payload);
    message.resize(length, 0);
    message
}

struct Answer<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

impl<'a> Answer<'a> {
    fn parse(message: &'a [u8]) -> Option<Self> {
        Some(Self {
            kind: u16::from_ne_bytes(*message.get(4..)?.first_chunk()?),
            sequence: u32::from_ne_bytes(*message.get(8..)?.first_chunk()?),
            body: message.get(HEADER..)?,
        })
    }

    fn error(&self) -> Result<(), TaskstatsError> {
        if self.kind != MESSAGE_ERROR {
            return Ok(());
        }
        let code = self.body.first_chunk().copied().map(i32::from_ne_bytes).ok_or(TaskstatsError::Malformed)?;
        // The kernel's error numbers; anything else cannot be one.
        match code {
            -4095..=-1 => Err(TaskstatsError::Kernel(Errno::from_raw_os_error(-code))),
            _ => Err(TaskstatsError::Malformed),
        }
    }

    fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = self.body.get(GENERIC_HEADER..)?;
        loop {
            let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
            let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?);
            let payload = rest.get(4..length)?;
            if kind == wanted {
                return Some(payload);
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
    }
}

fn parse_stats(payload: &[u8]) -> Option<CgroupStats> {
    let (numbers, _) = payload.as_chunks::<8>();
    let mut numbers = numbers.iter().map(|bytes| u64::from_ne_bytes(*bytes));
    Some(CgroupStats {
        sleeping: numbers.next()?,
        running: numbers.next()?,
        stopped: numbers.next()?,
        uninterruptible: numbers.next()?,
        io_wait: numbers.next()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_and_answers_have_the_documented_layout() {
        let message = request(0x1a, 7, GET_CGROUP_STATS, CGROUP_FD, &5_u32.to_ne_bytes());
        assert_eq!(message.len(), 28);
        let answer = Answer::parse(&message).unwrap();
        assert_eq!((answer.kind, answer.sequence), (0x1a, 7));
        assert_eq!(answer.attribute(CGROUP_FD), Some(&5_u32.to_ne_bytes()[..]));
        assert_eq!(answer.attribute(9), None);
        assert!(answer.error().is_ok());
        let refused = request(MESSAGE_ERROR, 7, 0, 0, b"");
        assert!(Answer::parse(&refused).unwrap().error().is_err());
        let counts: Vec<u8> = (1_u64..=5).flat_map(u64::to_ne_bytes).collect();
        let stats = CgroupStats { sleeping: 1, running: 2, stopped: 3, uninterruptible: 4, io_wait: 5 };
        assert_eq!(parse_stats(&counts), Some(stats));
        assert_eq!(parse_stats(&counts[..39]), None);
    }

    proptest! {
        #[test]
        fn never_panics(message in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Some(answer) = Answer::parse(&message) {
                let _ = (answer.error(), answer.attribute(1));
            }
            let _ = parse_stats(&message);
        }
    }
}
