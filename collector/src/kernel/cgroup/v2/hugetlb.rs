//! The hugetlb controller of cgroup v2: `hugetlb.<size>.events`.

use crate::kernel::text_formats::{FormatError, flat_keyed};

/// `max`: how often an allocation failed at the limit.
pub fn events_max(text: &[u8]) -> Result<u64, FormatError> {
    for pair in flat_keyed(text) {
        if let (b"max", count) = pair? {
            return Ok(count);
        }
    }
    Err(FormatError::at(1, "no \"max\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded() {
        assert_eq!(events_max(b"max 3\n"), Ok(3));
        assert!(events_max(b"").is_err());
        assert!(events_max(b"max\n").is_err());
    }
}
