//! cAdvisor's event resource: which events a request wants, and how an event is written.

pub(in crate::api::cadvisor) mod exit;
mod wire;

pub use self::wire::{append, append_line, append_missed};
pub(crate) use self::wire::{line_schema, schema};
pub use crate::api::query::events::{Delivery, EventQuery, QueryError, Subcontainers, below, matches, select};
