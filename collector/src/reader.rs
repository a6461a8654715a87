//! Reads statistics: of a container, of the machine, of its processes. When that happens is up to the sampler.

pub mod container;
pub mod live;
pub mod machine;
pub mod processes;
