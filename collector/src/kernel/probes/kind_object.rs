//! What the objects of single kinds have in common: each is loaded where its kind is switched on, and is found not to be
//! possible for one reason.

use aya::{Ebpf, EbpfError};
use rustix::io::Errno;

use super::btf::Btf;
use super::load::{broken, errno_of, object_failed, raise_memlock};
use super::support::{KernelFacts, TypesError, Unavailable, no_types};
use crate::kernel::HostRoots;

/// Finds something in the kernel's types.
pub(super) fn in_types<T, E: From<Unavailable>>(
    roots: &HostRoots,
    find: impl FnOnce(&Btf<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let path = roots.sys.join("kernel/btf/vmlinux");
    let types = std::fs::read(&path)
        .map_err(|error| no_types(&path, &TypesError::Unreadable(errno_of(&error).unwrap_or(Errno::IO))))?;
    let btf = Btf::parse(&types).map_err(|error| no_types(&path, &TypesError::Malformed(error)))?;
    find(&btf)
}

/// Loads an object; once more with a higher limit of locked memory, where that was too low.
pub(super) fn load(facts: &KernelFacts, object: impl Fn() -> Result<Ebpf, EbpfError>) -> Result<Ebpf, Unavailable> {
    match object() {
        Err(error) if errno_of(&error) == Some(Errno::PERM) && raise_memlock() => object(),
        outcome => outcome,
    }
    .map_err(|error| match error {
        error @ EbpfError::MapError(_) => object_failed(&error, facts),
        error if errno_of(&error).is_some() => object_failed(&error, facts),
        error => broken(&error),
    })
}
