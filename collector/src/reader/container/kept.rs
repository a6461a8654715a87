//! The files of a container that are kept open.

use super::ContainerReader;
use crate::kernel::file::KeptFile;

impl ContainerReader {
    /// Looks again for files that were absent.
    pub fn refresh(&mut self) {
        self.each_file(KeptFile::retry);
        self.families.retry();
    }

    /// Closes every file. A later sample opens them again.
    pub fn close(&mut self) {
        self.families.network.namespace_file().close();
        self.close_cgroup_files();
    }

    /// Closes those of its cgroups.
    pub(super) fn close_cgroup_files(&mut self) {
        self.each_cgroup_file(&mut KeptFile::close);
        self.families.close();
    }

    /// How many descriptors the container holds.
    #[cfg(test)]
    pub fn kept(&mut self) -> usize {
        let mut kept = 0;
        self.each_file(|file| kept += usize::from(file.is_kept()));
        kept
    }

    pub(super) fn each_file(&mut self, mut each: impl FnMut(&mut KeptFile)) {
        each(self.families.network.namespace_file());
        self.each_cgroup_file(&mut each);
    }

    fn each_cgroup_file(&mut self, each: &mut dyn FnMut(&mut KeptFile)) {
        self.families.each(each);
        self.late.each(each);
    }
}
