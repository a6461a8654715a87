//! The image's only layer: the collector's binary with file capabilities.
//!
//! They let another user than root take up capabilities that the container was given. Only *permitted* is set and not
//! the *effective* bit: with that bit the kernel refuses to start the program in a container that was not given all of
//! them, without it the collector starts with those that there are and raises them itself.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use rustix::thread::CapabilitySet;
use tar::{Builder, EntryType, Header};

/// Where the binary is in the image, without the leading slash.
pub(super) const BINARY: &str = "collector";

/// What the collector can make use of; a container gives of it what it wants.
const CAPABILITIES: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::SYS_RESOURCE)
    .union(CapabilitySet::NET_ADMIN);

/// Revision 2 of the kernel's `struct vfs_cap_data`, the effective bit not set.
const VFS_CAP_REVISION_2: u32 = 0x0200_0000;

/// How tar archives name the extended attribute that holds file capabilities.
const ATTRIBUTE: &str = "SCHILY.xattr.security.capability";

/// The layer's bytes.
pub(super) fn with_collector(binary: &[u8], time: Timestamp) -> Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    layer.append_pax_extensions([(ATTRIBUTE, file_capabilities(CAPABILITIES).as_slice())]).context("cannot pack")?;
    append(&mut layer, BINARY, EntryType::Regular, 0o755, binary, time)?;
    layer.into_inner().context("cannot finish the layer")
}

/// Adds an entry that says nothing about this machine.
pub(super) fn append(
    archive: &mut Builder<Vec<u8>>,
    path: &str,
    kind: EntryType,
    mode: u32,
    content: &[u8],
    time: Timestamp,
) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(time.as_second().max(0) as u64);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, path, content).with_context(|| format!("cannot pack {path}"))
}

/// The value of `security.capability`: a word of flags, then the low and the high words of permitted and inheritable.
fn file_capabilities(permitted: CapabilitySet) -> Vec<u8> {
    let bits = permitted.bits();
    let words = [VFS_CAP_REVISION_2, bits as u32, 0, (bits >> 32) as u32, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_capabilities_are_as_setcap_writes_them() {
        // `setcap cap_bpf,cap_perfmon,cap_dac_read_search,cap_net_admin,cap_sys_nice,cap_sys_ptrace,cap_sys_resource=p FILE`,
        // then `getfattr -n security.capability -e hex FILE`.
        let bytes = file_capabilities(CAPABILITIES);
        let words: Vec<&[u8]> = bytes.chunks(4).collect();
        assert_eq!(words, [[0, 0, 0, 2], [4, 0x10, 0x88, 1], [0; 4], [0xc0, 0, 0, 0], [0; 4]]);
    }

    #[test]
    fn the_binary_carries_them_in_the_archive() {
        let layer = with_collector(b"\x7fELF", Timestamp::UNIX_EPOCH).unwrap();
        let mut archive = tar::Archive::new(layer.as_slice());
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.header().mode().unwrap(), 0o755);
        assert_eq!(entry.header().mtime().unwrap(), 0);
        let extensions: Vec<_> = entry.pax_extensions().unwrap().unwrap().map(Result::unwrap).collect();
        let [only] = extensions.as_slice() else { panic!("{} extensions", extensions.len()) };
        assert_eq!(only.key(), Ok(ATTRIBUTE));
        assert_eq!(only.value_bytes(), file_capabilities(CAPABILITIES));
    }
}
