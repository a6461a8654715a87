//! The summary and its metrics, over a node with pods of every sort.

mod clients;
pub(crate) mod fixture;
mod golden;
mod rules;
