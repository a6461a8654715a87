//! The statistics files of cgroup v1, one family each. Files with a single number have no module: they are read with
//! [`unsigned`](crate::kernel::text_formats::unsigned).

pub mod blkio;
pub mod cpu;
pub mod cpuacct;
pub mod memory;
