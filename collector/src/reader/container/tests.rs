//! Recorded trees of cgroup files in a temporary directory, read into whole samples.

mod contained;
mod fixture;
mod kernel_memory;
mod last;
mod legacy;
mod lifetime;
mod odd;
mod processes;
mod statistics;
mod unified;
