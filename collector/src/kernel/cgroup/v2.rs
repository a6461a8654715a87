//! The statistics files of cgroup v2, one family each. Files with a single number or `max` have no module: they are
//! read with [`unsigned`](crate::kernel::text_formats::unsigned) and [`limit`](crate::kernel::text_formats::limit).

pub mod cpu;
pub mod hugetlb;
pub mod io;
pub mod memory;
pub mod pressure;
