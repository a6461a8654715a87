//! Noticing OOM kills without BPF: inotify on `memory.events` of cgroup v2.
//!
//! The kernel reports a modification of the file when one of its counters rises (since 4.19; at most one report per 10
//! ms and file, so several kills may be one). This only says which file changed; reading it, and distinguishing a kill
//! from another event, is the reader's business. cgroup v1 has no such file.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use inotify::{Inotify, WatchDescriptor, WatchMask};

use super::probes::{Wake, Waker, reader::WaitSet};

/// Room for the events of one read; each is 16 bytes, as a watched file has no name in it.
const BUFFER_BYTES: usize = 4096;

/// Watches files, for one thread that waits.
pub struct OomWatch {
    inotify: Inotify,
    files: HashMap<WatchDescriptor, PathBuf>,
    descriptors: HashMap<PathBuf, WatchDescriptor>,
    wait: WaitSet,
    buffer: [u8; BUFFER_BYTES],
}

/// What [`OomWatch::drain`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// This file's counters rose.
    Modified(&'a Path),
    /// The kernel dropped reports: any file may have changed.
    Overflow,
}

impl OomWatch {
    /// A watch over no file yet.
    ///
    /// # Errors
    /// Without a free descriptor, or above `fs.inotify.max_user_instances`.
    pub fn new() -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let wait = WaitSet::new(&inotify)?;
        Ok(Self { inotify, files: HashMap::new(), descriptors: HashMap::new(), wait, buffer: [0; BUFFER_BYTES] })
    }

    /// Starts to watch a file; a file that is watched already stays so.
    ///
    /// # Errors
    /// When the file is not there, or above `fs.inotify.max_user_watches` (`ENOSPC`).
    pub fn add(&mut self, file: &Path) -> io::Result<()> {
        let descriptor = self.inotify.watches().add(file, WatchMask::MODIFY)?;
        // The same inode gives the same descriptor: a path made again replaces the one before.
        if let Some(before) = self.files.insert(descriptor.clone(), file.to_path_buf()) {
            self.descriptors.remove(&before);
        }
        self.descriptors.insert(file.to_path_buf(), descriptor);
        Ok(())
    }

    /// A handle that ends [`Self::wait`] from another thread.
    pub fn waker(&self) -> Waker {
        self.wait.waker()
    }

    /// Blocks until a file changed, the waker is used, or the time is over (`None`: no limit).
    ///
    /// # Errors
    /// When the kernel refuses to wait, which it has no reason to.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Wake> {
        self.wait.wait(timeout)
    }

    /// Hands over the changes that are there, without blocking.
    ///
    /// # Errors
    /// When the kernel refuses to read, which it has no reason to.
    pub fn drain(&mut self, mut handle: impl FnMut(Change<'_>)) -> io::Result<()> {
        use inotify::EventMask;
        loop {
            let events = match self.inotify.read_events(&mut self.buffer) {
                Ok(events) => events,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            for event in events {
                if event.mask.contains(EventMask::Q_OVERFLOW) {
                    handle(Change::Overflow);
                } else if event.mask.contains(EventMask::IGNORED) {
                    // The cgroup is gone. Its path may be watched anew already, under another descriptor.
                    if let Some(file) = self.files.remove(&event.wd)
                        && self.descriptors.get(&file) == Some(&event.wd)
                    {
                        self.descriptors.remove(&file);
                    }
                } else if let Some(file) = self.files.get(&event.wd) {
                    handle(Change::Modified(file));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(watch: &mut OomWatch) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let note = |change: Change<'_>| match change {
            Change::Modified(file) => found.push(file.to_path_buf()),
            Change::Overflow => panic!("nothing overflows here"),
        };
        watch.drain(note).unwrap();
        found
    }

    #[test]
    fn reports_the_file_that_changed() {
        let directory = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| directory.path().join(name));
        let mut watch = OomWatch::new().unwrap();
        for file in [&first, &second] {
            std::fs::write(file, "oom_kill 0").unwrap();
            watch.add(file).unwrap();
        }
        assert_eq!(watch.wait(Some(Duration::ZERO)).unwrap(), Wake::Timeout);
        std::fs::OpenOptions::new().append(true).open(&second).unwrap();
        assert_eq!(drained(&mut watch), Vec::<PathBuf>::new());
        std::fs::write(&second, "oom_kill 1").unwrap();
        assert_eq!(watch.wait(None).unwrap(), Wake::Events);
        let changed = drained(&mut watch);
        assert!(!changed.is_empty() && changed.iter().all(|file| *file == second), "{changed:?}");
    }

    #[test]
    fn forgets_files_that_are_gone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let mut watch = OomWatch::new().unwrap();
        std::fs::write(&file, "").unwrap();
        watch.add(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(drained(&mut watch), Vec::<PathBuf>::new());
        assert!(watch.files.is_empty());
        std::fs::write(&file, "").unwrap();
        watch.add(&file).unwrap();
        assert_eq!(watch.files.len(), 1);
        assert!(watch.add(&directory.path().join("never")).is_err());
    }

    #[test]
    fn another_thread_ends_the_wait() {
        let mut watch = OomWatch::new().unwrap();
        let waker = watch.waker();
        let thread = std::thread::spawn(move || waker.wake());
        assert_eq!(watch.wait(None).unwrap(), Wake::Woken);
        assert_eq!(watch.wait(Some(Duration::ZERO)).unwrap(), Wake::Timeout);
        thread.join().unwrap();
    }
}
