//! Reading kernel memory at offsets that the daemon supplied.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use collector_ebpf::{ABSENT, COMM_LEN, NO_OFFSETS, Offset, Offsets};

/// Set by the daemon before loading. The map behind it is frozen then, so that the verifier sees constants.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = NO_OFFSETS;

/// The value the daemon put in for `field`.
#[inline(always)]
pub(crate) fn offset(field: Offset) -> Option<u64> {
    // SAFETY: the index is below the array's length by construction of `Offset`; volatile, because the value changes
    // after compilation.
    let value = unsafe { core::ptr::read_volatile((&raw const OFFSETS).cast::<u32>().add(field as usize)) };
    if value == ABSENT { None } else { Some(u64::from(value)) }
}

/// An address in kernel memory that may have become invalid: every read through it is checked by the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Address(pub(crate) u64);

impl Address {
    /// `None` for a null pointer.
    #[inline(always)]
    pub(crate) fn new(address: u64) -> Option<Self> {
        if address == 0 { None } else { Some(Self(address)) }
    }

    /// The value at this address.
    #[inline(always)]
    pub(crate) fn read<T>(self) -> Option<T> {
        // SAFETY: the helper checks the address and fails on a bad one; the callers' types allow every bit pattern.
        unsafe { bpf_probe_read_kernel(self.0 as *const T) }.ok()
    }

    /// The address of a field inside this structure.
    #[inline(always)]
    pub(crate) fn at(self, field: Offset) -> Option<Self> {
        Some(Self(self.0.wrapping_add(offset(field)?)))
    }

    /// The structure this address is the given field of (`container_of`).
    #[inline(always)]
    pub(crate) fn container(self, field: Offset) -> Option<Self> {
        Some(Self(self.0.wrapping_sub(offset(field)?)))
    }

    /// The value of a field.
    #[inline(always)]
    pub(crate) fn field<T>(self, field: Offset) -> Option<T> {
        self.at(field)?.read()
    }

    /// The pointer in a field, `None` when it is null.
    #[inline(always)]
    pub(crate) fn pointer(self, field: Offset) -> Option<Self> {
        Self::new(self.field(field)?)
    }

    /// The kernfs id of the `struct cgroup` at this address.
    #[inline(always)]
    pub(crate) fn cgroup_id(self) -> Option<u64> {
        self.pointer(Offset::CgroupKn)?.field(Offset::KernfsId)
    }

    /// The hierarchy of the `struct cgroup` at this address.
    #[inline(always)]
    pub(crate) fn cgroup_hierarchy(self) -> Option<u32> {
        self.pointer(Offset::CgroupRoot)?.field(Offset::RootHierarchyId)
    }

    /// The command name of the `struct task_struct` at this address.
    #[inline(always)]
    pub(crate) fn comm(self) -> Option<[u8; COMM_LEN]> {
        self.field(Offset::TaskComm)
    }
}
