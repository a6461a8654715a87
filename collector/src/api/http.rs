//! HTTP: which path is answered by what, how answers are sent, and the OpenAPI document of it.

pub mod mount;
pub(crate) mod openapi;
pub(crate) mod resources;
pub(crate) mod responses;
pub mod router;
