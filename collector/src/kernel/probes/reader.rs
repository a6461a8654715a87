//! Bringing the records in: waiting on the ring buffer from a thread of one's own, and draining it.

use std::{
    borrow::Borrow as _,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use collector_ebpf::PATH_MAX_LEN;
use rustix::{
    event::{EventfdFlags, Timespec, epoll, eventfd},
    io::Errno,
};

use super::events::{DecodeError, KernelEvent, decode};

/// Marks the waker among what epoll reports.
const WAKER: u64 = 1;
/// Marks everything else.
const SOURCE: u64 = 2;

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There is something to drain.
    Events,
    /// A [`Waker`] was used. There may be something to drain as well.
    Woken,
    /// The time is over.
    Timeout,
}

/// Ends a wait from another thread.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    /// Ends the current wait, or the next one.
    pub fn wake(&self) {
        // It fails only when the counter is full, and then it is awake anyway.
        let _ = rustix::io::write(&*self.event, &1_u64.to_ne_bytes());
    }
}

/// A thread's place to wait: some descriptors and a waker.
#[derive(Debug)]
pub(crate) struct WaitSet {
    epoll: OwnedFd,
    waker: Waker,
}

impl WaitSet {
    /// Waits for `source` to be readable.
    pub(crate) fn new(source: impl AsFd) -> io::Result<Self> {
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &event, epoll::EventData::new_u64(WAKER), epoll::EventFlags::IN)?;
        let set = Self { epoll, waker: Waker { event } };
        set.add(source)?;
        Ok(set)
    }

    /// Waits for this one as well.
    fn add(&self, source: impl AsFd) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, epoll::EventData::new_u64(SOURCE), epoll::EventFlags::IN)?)
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Wake> {
        let timeout = timeout.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let mut events = Vec::with_capacity(4);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) => {}
            // A signal handler ran: for the caller as if the time were over.
            Err(Errno::INTR) => return Ok(Wake::Timeout),
            Err(errno) => return Err(errno.into()),
        }
        if events.iter().any(|event| event.data.u64() == WAKER) {
            // Fails only when it was read already.
            let _ = rustix::io::read(&*self.waker.event, &mut [0_u8; 8]);
            return Ok(Wake::Woken);
        }
        Ok(if events.is_empty() { Wake::Timeout } else { Wake::Events })
    }
}

/// The programs' log lines, when they are switched on.
pub(super) struct ProgramLog {
    /// Readable when there are lines.
    pub(super) descriptor: OwnedFd,
    /// Passes them on.
    pub(super) flush: Box<dyn FnMut() + Send>,
}

/// The reading end of the ring buffer. There is one; it belongs to the thread that drains.
pub struct EventReader {
    ring: RingBuf<MapData>,
    log: Option<ProgramLog>,
    wait: WaitSet,
    /// Bytes of the buffer.
    size: u32,
    /// Bytes taken out of it since it was last asked whether it was full.
    taken: u64,
}

/// Before each record, and records are aligned to as much.
const RECORD_HEADER: u64 = 8;
/// More than any record takes.
const LONGEST_RECORD: u64 = 2 * (PATH_MAX_LEN as u64 + 1);

impl EventReader {
    pub(super) fn new(ring: RingBuf<MapData>, size: u32, log: Option<ProgramLog>) -> io::Result<Self> {
        let wait = WaitSet::new(&ring)?;
        if let Some(log) = &log {
            wait.add(&log.descriptor)?;
        }
        Ok(Self { ring, log, wait, size, taken: 0 })
    }

    /// A handle that ends [`Self::wait`] from another thread.
    pub fn waker(&self) -> Waker {
        self.wait.waker()
    }

    /// Blocks until there are records, the waker is used, or the time is over (`None`: no limit).
    ///
    /// # Errors
    /// When the kernel refuses to wait, which it has no reason to; a signal does not count as one.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Wake> {
        self.wait.wait(timeout)
    }

    /// Hands over every record that is there, without blocking; how many there were. Log lines of the programs, where
    /// switched on, go to `tracing`.
    pub fn drain(&mut self, mut handle: impl FnMut(Result<KernelEvent, DecodeError>)) -> usize {
        let mut count = 0;
        while let Some(record) = self.ring.next() {
            let bytes: &[u8] = record.borrow();
            self.taken += RECORD_HEADER + (bytes.len() as u64).next_multiple_of(RECORD_HEADER);
            let event = decode(bytes);
            // Gives the record's room back to the kernel before the handler takes its time.
            drop(record);
            handle(event);
            count += 1;
        }
        if let Some(log) = &mut self.log {
            (log.flush)();
        }
        count
    }

    /// Whether the buffer may have had no room for a record since this was asked last. What was in it then was taken out
    /// since: where that is not half of what has to be there for the longest record not to fit, there was room.
    pub fn may_have_been_full(&mut self) -> bool {
        let may_have_been = self.taken >= u64::from(self.size).saturating_sub(LONGEST_RECORD) / 2;
        if may_have_been {
            self.taken = 0;
        }
        may_have_been
    }
}
