//! A root filesystem for the kernel to unpack: the `newc` archive format, uncompressed.
//!
//! The format is described in the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`: per entry a
//! header of 6 + 13 × 8 hexadecimal digits, the name with a zero byte, the content, both padded to four bytes.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Mode bits of the entries that we write.
const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive under construction.
#[derive(Debug)]
pub(super) struct Archive {
    out: BufWriter<File>,
    next_inode: u32,
}

impl Archive {
    /// Starts an archive in a new file.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { out: BufWriter::new(file), next_inode: 1 })
    }

    /// Adds a folder.
    pub(super) fn folder(&mut self, name: &str) -> Result<()> {
        self.entry(name, FOLDER, (0, 0), &[])
    }

    /// Adds a file.
    pub(super) fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(name, FILE, (0, 0), content)
    }

    /// Adds a file that can be run.
    pub(super) fn program(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(name, PROGRAM, (0, 0), content)
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.entry(name, LINK, (0, 0), target.as_bytes())
    }

    /// Adds the system console's device.
    pub(super) fn console(&mut self, name: &str) -> Result<()> {
        self.entry(name, CHARACTER_DEVICE, (5, 1), &[])
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Result<()> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.out.flush().context("cannot write the initramfs")
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        let bytes = encode(self.next_inode, name, mode, device, content)?;
        self.next_inode += 1;
        self.out.write_all(&bytes).context("cannot write the initramfs")
    }
}

fn encode(inode: u32, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<Vec<u8>> {
    let size = u32::try_from(content.len()).with_context(|| format!("{name} is too large for the initramfs"))?;
    let name_size = u32::try_from(name.len() + 1).with_context(|| format!("{name} is too long"))?;
    // inode, mode, uid, gid, links, mtime, size, device of the file (major, minor), device it stands for, name, checksum
    let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
    let mut bytes = b"070701".to_vec();
    for field in fields {
        write!(bytes, "{field:08x}").context("cannot format a header")?;
    }
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_documented_form() {
        let bytes = encode(7, "init", PROGRAM, (0, 0), b"#!sh\n").unwrap();
        let header = "070701\
            00000007000081ed00000000000000000000000100000000\
            0000000500000000000000000000000000000000\
            0000000500000000";
        assert_eq!(&bytes[..110], header.as_bytes());
        assert_eq!(&bytes[110..], b"init\0\0#!sh\n\0\0\0");
        assert_eq!(bytes.len() % 4, 0);
    }
}
