//! Which containers a v2 request is about.

use super::options::{NameKind, RequestOptions, SelectionExtent};
use crate::api::backend::{Containers, LimitsAge, NoSuchAlias};
use crate::api::wire::json::Quoted;
use crate::sample::event::Name;
use crate::sample::identity::Runtime;

/// The containers a request selects, by name, and how new their limits have to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Their names, sorted.
    pub names: Vec<Name>,
    /// How new their limits have to be.
    pub limits: LimitsAge,
}

/// Nothing can be selected, in cAdvisor's words.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SelectionError {
    /// No container has the name.
    #[error("unknown container {}", Quoted(.0))]
    Unknown(Name),
    /// No container's name begins with it.
    #[error("unknown container: {}", Quoted(.0))]
    NoneBelow(Name),
    /// The runtime has no such container, or several.
    #[error(transparent)]
    Alias(#[from] NoSuchAlias),
    /// A runtime's containers have none below them.
    #[error("invalid request for {} container {} with subcontainers", .1.namespace(), Quoted(.0))]
    NoSubcontainers(Name, Runtime),
}

/// Finds the containers. As in cAdvisor, what is below a name is what begins with it, path or not, and a runtime's
/// containers go by their aliases, or, for all of them, by `/`.
///
/// # Errors
/// When nothing is selected.
pub fn select(source: &impl Containers, name: &Name, options: &RequestOptions) -> Result<Selection, SelectionError> {
    match options.name_kind {
        NameKind::Full => by_full_name(source, name, options.extent),
        NameKind::Docker => of_runtime(source, Runtime::Docker, name, options.extent),
        NameKind::Podman => of_runtime(source, Runtime::Podman, name, options.extent),
    }
}

fn of_runtime(
    source: &impl Containers,
    runtime: Runtime,
    name: &Name,
    extent: SelectionExtent,
) -> Result<Selection, SelectionError> {
    match extent {
        SelectionExtent::Itself => {
            let alias = name.strip_prefix(b"/").unwrap_or(name);
            Ok(Selection { names: source.of_runtime(runtime, Some(alias))?, limits: LimitsAge::Current })
        }
        SelectionExtent::Recursive if **name == *b"/" => {
            Ok(Selection { names: source.of_runtime(runtime, None)?, limits: LimitsAge::Recent })
        }
        SelectionExtent::Recursive => Err(SelectionError::NoSubcontainers(Name::clone(name), runtime)),
    }
}

fn by_full_name(source: &impl Containers, name: &Name, extent: SelectionExtent) -> Result<Selection, SelectionError> {
    match extent {
        SelectionExtent::Itself if source.is_known(name) => {
            Ok(Selection { names: vec![Name::clone(name)], limits: LimitsAge::Current })
        }
        SelectionExtent::Itself => Err(SelectionError::Unknown(Name::clone(name))),
        SelectionExtent::Recursive => {
            let names = source.names_with_prefix(name);
            if names.is_empty() {
                return Err(SelectionError::NoneBelow(Name::clone(name)));
            }
            Ok(Selection { names, limits: LimitsAge::Recent })
        }
    }
}
