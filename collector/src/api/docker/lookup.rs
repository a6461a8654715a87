//! Which container a client means.

use super::errors::Error;
use crate::api::backend::docker::{ContainerEngine, RuntimeContainer};

/// Finds what a client means: an id, then a name, then the beginning of one id.
pub(crate) fn find<S: ContainerEngine>(source: &S, wanted: &str) -> Result<RuntimeContainer, Error> {
    let mut all = source.runtime_containers();
    let plain = wanted.trim_start_matches('/');
    let exact = all.iter().position(|container| container.id == plain);
    if let Some(at) = exact.or_else(|| all.iter().position(|container| container.name() == plain)) {
        return Ok(all.swap_remove(at));
    }
    all.retain(|container| !plain.is_empty() && container.id.starts_with(plain));
    match all.len() {
        0 => Err(Error::NoSuchContainer(wanted.to_owned())),
        1 => Ok(all.swap_remove(0)),
        _ => Err(Error::Ambiguous(wanted.to_owned())),
    }
}
