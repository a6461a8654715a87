//! Which containers a v2 request is about.

use super::options::{Extent, NameKind, RequestOptions};
use crate::sample::event::Name;
use crate::views::json::Quoted;
use crate::views::source::{Containers, Limits};

/// The containers a request selects, by name, and how new their limits have to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) names: Vec<Name>,
    pub(super) limits: Limits,
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
    /// The runtime knows no such container.
    #[error("unable to find container {} in \"{namespace}\" namespace", Quoted(name))]
    NotInNamespace {
        /// What was asked for, without the leading slash.
        name: Vec<u8>,
        /// Of which runtime.
        namespace: &'static str,
    },
    /// A runtime's containers have none below them.
    #[error("invalid request for {namespace} container {} with subcontainers", Quoted(name))]
    NoSubcontainers {
        /// What was asked for.
        name: Name,
        /// Of which runtime.
        namespace: &'static str,
    },
}

/// Finds the containers. As in cAdvisor, what is below a name is what begins with it, path or not.
pub(super) fn select(
    source: &impl Containers,
    name: &Name,
    options: &RequestOptions,
) -> Result<Selection, SelectionError> {
    let namespace = match options.name_kind {
        NameKind::Full => return by_full_name(source, name, options.extent),
        NameKind::Docker => "docker",
        NameKind::Podman => "podman",
    };
    // No runtime is asked for its containers, so a runtime's namespace is empty.
    match options.extent {
        Extent::Recursive if **name == *b"/" => Ok(Selection { names: Vec::new(), limits: Limits::Recent }),
        Extent::Recursive => Err(SelectionError::NoSubcontainers { name: Name::clone(name), namespace }),
        Extent::Itself => {
            let name = name.strip_prefix(b"/").unwrap_or(name).to_vec();
            Err(SelectionError::NotInNamespace { name, namespace })
        }
    }
}

fn by_full_name(source: &impl Containers, name: &Name, extent: Extent) -> Result<Selection, SelectionError> {
    match extent {
        Extent::Itself if source.is_known(name) => {
            Ok(Selection { names: vec![Name::clone(name)], limits: Limits::Current })
        }
        Extent::Itself => Err(SelectionError::Unknown(Name::clone(name))),
        Extent::Recursive => {
            let names = source.names_with_prefix(name);
            if names.is_empty() {
                return Err(SelectionError::NoneBelow(Name::clone(name)));
            }
            Ok(Selection { names, limits: Limits::Recent })
        }
    }
}
