//! cAdvisor's JSON API, v1.0 to v2.1.

pub mod events;
pub mod machine;
pub(crate) mod path;
mod series;
pub mod stdout_line;
pub mod v1;
pub mod v2;
pub(crate) mod validate;
