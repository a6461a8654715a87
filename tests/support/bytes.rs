//! Small things about files and paths.

use std::fs;
use std::path::Path;

use super::{Context as _, Result};

/// Bytes in a mebibyte.
pub(crate) const MIB: u64 = 1 << 20;

/// The content of a file, without the line end.
pub(crate) fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.trim_end().to_owned())
}

/// A file that holds one number.
pub(crate) fn read_number(path: impl AsRef<Path>) -> Result<u64> {
    let path = path.as_ref();
    read(path)?.parse().with_context(|| format!("{} is not a number", path.display()))
}

/// A number of a file of `key value` lines.
pub(crate) fn read_key(path: impl AsRef<Path>, key: &str) -> Result<u64> {
    let path = path.as_ref();
    find_key(&read(path)?, key).with_context(|| format!("{} has no {key}", path.display()))
}

/// A number among `key value` lines.
pub(crate) fn find_key(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// A number among `key: value kB` lines such as those of `/proc/meminfo`, in bytes.
pub(crate) fn meminfo(key: &str) -> Result<u64> {
    let text = read("/proc/meminfo")?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.trim().strip_suffix(" kB"));
    Ok(value.with_context(|| format!("no {key} in /proc/meminfo"))?.trim().parse::<u64>()? * 1024)
}

/// Writes a kernel file.
pub(crate) fn write(path: impl AsRef<Path>, value: &str) -> Result<()> {
    let path = path.as_ref();
    fs::write(path, value).with_context(|| format!("write {value:?} to {}", path.display()))
}

/// A path with every byte percent-encoded that means something in a URL.
pub(crate) fn url_encode(path: &[u8]) -> String {
    use std::fmt::Write as _;
    path.iter().fold(String::new(), |mut url, &byte| {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            url.push(byte.into());
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
        url
    })
}
