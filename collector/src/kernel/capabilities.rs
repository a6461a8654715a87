//! The rights of this process: what it may use is switched on, what it never uses is given up.
//!
//! Nothing is ever executed, so nothing that could be executed may have rights either: no privileges are gained by it, and
//! the bounding, inheritable and ambient sets hold no more than what is used.
//!
//! File capabilities of an image's binary are in the permitted set alone, because with them in effect at once the
//! program could not even be started where the container's runtime withholds one of them.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// What some feature of the collector uses.
const USED: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::SYS_RESOURCE)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// The right to attach programs to cgroups, which only the kind `network_cgroup` uses.
pub const ATTACH_TO_CGROUPS: CapabilitySet = CapabilitySet::NET_ADMIN;

/// A right that stands in for others where they are missing.
const STAND_INS: [(CapabilitySet, CapabilitySet); 2] = [
    (CapabilitySet::SYS_ADMIN, CapabilitySet::BPF.union(CapabilitySet::PERFMON)),
    (CapabilitySet::DAC_OVERRIDE, CapabilitySet::DAC_READ_SEARCH),
];

/// Puts into effect what is permitted and used, with these rights beside it that only some use, and gives up the rest for
/// good. To be called before the first thread is started, since each thread has rights of its own, passed on to those it
/// starts.
///
/// # Errors
/// When the kernel refuses, which it has no reason to: only fewer rights are asked for.
pub fn settle(beside: CapabilitySet) -> Result<CapabilitySet, Errno> {
    set_no_new_privs(true)?;
    let now = capabilities(None)?;
    let kept = kept(now.permitted, beside);
    // Before the right to do so is given up. Without it the set stays, and is of no use to who has none of its rights.
    if now.permitted.contains(CapabilitySet::SETPCAP) {
        let with_it = CapabilitySets { effective: kept | CapabilitySet::SETPCAP, ..now };
        set_capabilities(None, with_it)?;
        bound(kept)?;
    }
    clear_ambient_capability_set()?;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?;
    Ok(kept)
}

/// Takes everything else out of the bounding set. Capabilities that the kernel does not know are not in it.
fn bound(kept: CapabilitySet) -> Result<(), Errno> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if !kept.contains(capability) && capability_is_in_bounding_set(capability).unwrap_or(false) {
            remove_capability_from_bounding_set(capability)?;
        }
    }
    Ok(())
}

fn kept(permitted: CapabilitySet, beside: CapabilitySet) -> CapabilitySet {
    let stand_ins = STAND_INS.into_iter().filter(|(_, others)| !permitted.contains(*others));
    let used = stand_ins.fold(USED.union(beside), |used, (stand_in, _)| used.union(stand_in));
    permitted.intersection(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_used_is_kept() {
        let kept = |permitted| kept(permitted, CapabilitySet::empty());
        assert_eq!(kept(CapabilitySet::empty()), CapabilitySet::empty());
        assert_eq!(kept(CapabilitySet::all()), USED);
        let file = CapabilitySet::BPF | CapabilitySet::PERFMON;
        assert_eq!(kept(file), file);
        let stand_in = CapabilitySet::SYS_ADMIN | CapabilitySet::BPF | CapabilitySet::KILL;
        assert_eq!(kept(stand_in), CapabilitySet::SYS_ADMIN | CapabilitySet::BPF, "CAP_PERFMON is missing");
        let reader = CapabilitySet::DAC_OVERRIDE | CapabilitySet::CHOWN;
        assert_eq!(kept(reader), CapabilitySet::DAC_OVERRIDE);
    }

    #[test]
    fn what_some_use_is_kept_for_them() {
        let both = CapabilitySet::BPF | ATTACH_TO_CGROUPS;
        assert_eq!(kept(both, CapabilitySet::empty()), CapabilitySet::BPF);
        assert_eq!(kept(both, ATTACH_TO_CGROUPS), both);
        assert_eq!(kept(CapabilitySet::BPF, ATTACH_TO_CGROUPS), CapabilitySet::BPF);
    }
}
