//! Just enough of the tar format to pack one program as a container image.

use serde_json::json;
use sha2::{Digest as _, Sha256};

/// An archive that holds `bin/` and one executable file.
pub(crate) fn with_program(name: &str, program: &[u8]) -> Vec<u8> {
    let mut archive = header("bin/", 0, b'5').to_vec();
    add(&mut archive, &format!("bin/{name}"), program);
    end(archive)
}

/// An archive of executable files, by their paths.
pub(crate) fn with_files(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (path, content) in files {
        add(&mut archive, path, content);
    }
    end(archive)
}

/// An image as `docker save` writes it: its tag, the command it runs when it is given none, and its only layer.
pub(crate) fn image(tag: &str, command: &[&str], layer: &[u8]) -> Vec<u8> {
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": { "Entrypoint": command },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex_sha256(layer))] },
    });
    let manifest = json!([{ "Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"] }]);
    let mut archive = Vec::new();
    add(&mut archive, "layer.tar", layer);
    add(&mut archive, "config.json", config.to_string().as_bytes());
    add(&mut archive, "manifest.json", manifest.to_string().as_bytes());
    end(archive)
}

/// The SHA-256 of something in hexadecimal, which also is what a container's id looks like.
pub(crate) fn hex_sha256(content: &[u8]) -> String {
    format!("{:x}", Sha256::digest(content))
}

fn add(archive: &mut Vec<u8>, name: &str, content: &[u8]) {
    archive.extend(header(name, content.len(), b'0'));
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

/// Two empty blocks end an archive.
fn end(mut archive: Vec<u8>) -> Vec<u8> {
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// The same with capabilities of the file: the bytes of its `security.capability` attribute.
pub(crate) fn with_capable_program(name: &str, program: &[u8], capabilities: &[u8]) -> Vec<u8> {
    // A pax record begins with its own length, the digits of the length included.
    let record = [b" SCHILY.xattr.security.capability=", capabilities, b"\n"].concat();
    let digits = (record.len() + 2).to_string().len();
    let record = [(record.len() + digits).to_string().as_bytes(), &record].concat();
    let mut archive = header("pax", record.len(), b'x').to_vec();
    archive.extend(&record);
    archive.resize(archive.len().next_multiple_of(512), 0);
    // The extended header is about the entry that follows it: the folder goes without.
    archive.splice(0..0, header("bin/", 0, b'5'));
    archive.extend(with_program(name, program).split_off(512));
    archive
}

/// A ustar header block.
fn header(name: &str, size: usize, kind: u8) -> [u8; 512] {
    let mut block = [0_u8; 512];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000755");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    put(148, "        ");
    put(257, "ustar");
    put(263, "00");
    block[156] = kind;
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}
