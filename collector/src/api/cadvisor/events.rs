//! cAdvisor's event resource: which events a request wants, and how an event is written.

mod query;
mod wire;

pub use self::query::{Delivery, EventQuery, QueryError, Subcontainers, below, matches, select};
pub use self::wire::{append, append_line, append_missed};
pub(crate) use self::wire::{line_schema, schema};
