//! The hugetlb controller of cgroup v2: `hugetlb.<size>.events`.

use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::flat_keyed;

/// `max`: how often an allocation failed at the limit.
pub fn events_max(text: &[u8], odd: &mut OddLines) -> Option<u64> {
    flat_keyed(text, odd).find_map(|(key, count)| (key == b"max").then_some(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded() {
        let parse = |text: &[u8]| events_max(text, &mut OddLines::default());
        assert_eq!(parse(b"max 3\n"), Some(3));
        assert_eq!(parse(b"low x\nmax 3\n"), Some(3));
        assert_eq!((parse(b""), parse(b"max\n")), (None, None));
    }
}
