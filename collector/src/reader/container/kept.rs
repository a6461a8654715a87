//! The files of a container that are kept open.

use super::ContainerReader;
use crate::kernel::file::KeptFile;

impl ContainerReader {
    /// Looks again for files that were absent.
    pub fn refresh(&mut self) {
        self.each_file(KeptFile::retry);
        self.memory.retry();
        self.io.retry();
    }

    /// Closes every file. A later sample opens them again.
    pub fn close(&mut self) {
        self.network.each(&mut KeptFile::close);
        self.close_cgroup_files();
    }

    /// Closes those of its cgroups.
    pub(super) fn close_cgroup_files(&mut self) {
        self.each_cgroup_file(KeptFile::close);
        self.perf.close();
    }

    /// How many descriptors the container holds.
    pub fn kept(&mut self) -> usize {
        let mut kept = 0;
        self.each_file(|file| kept += usize::from(file.is_kept()));
        kept
    }

    pub(super) fn each_file(&mut self, mut each: impl FnMut(&mut KeptFile)) {
        self.network.each(&mut each);
        self.each_cgroup_file(each);
    }

    fn each_cgroup_file(&mut self, mut each: impl FnMut(&mut KeptFile)) {
        self.cpu.each(&mut each);
        self.memory.each(&mut each);
        self.io.each(&mut each);
        self.processes.each(&mut each);
        self.hugetlb.each(&mut each);
        each(&mut self.memory_migrate);
        each(&mut self.oom_kills);
        self.late.each(&mut each);
    }
}
