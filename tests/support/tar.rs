//! Just enough of the tar format to pack one program as a container image.

/// An archive that holds `bin/` and one executable file.
pub(crate) fn with_program(name: &str, program: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    archive.extend(header("bin/", 0, b'5'));
    archive.extend(header(&format!("bin/{name}"), program.len(), b'0'));
    archive.extend(program);
    archive.resize(archive.len().next_multiple_of(512), 0);
    // Two empty blocks end an archive.
    archive.resize(archive.len() + 1024, 0);
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
