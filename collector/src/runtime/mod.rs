//! What container runtimes tell about a cgroup. So far from the path alone, which needs no runtime.

pub mod cgroup_names;
