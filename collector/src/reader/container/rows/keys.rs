//! What a statistic's file and the place in it are called, and how they are written.

/// What a file's name is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reader::container) enum Base {
    /// The cgroup's directory. `<size>` stands for each huge page size.
    Cgroup,
    /// procfs.
    Proc,
    /// The directory of a process of the container.
    Process,
    /// sysfs.
    Sys,
    /// No file but an answer of the kernel.
    Kernel,
}

/// What of a file is the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reader::container) enum Within {
    Whole,
    /// The number after this word.
    Key(&'static str),
    /// The same, where the word is left out while there is nothing to count.
    Sparse(&'static str),
    /// A fixed place, described.
    Part(&'static str),
}

/// One value of one file.
#[derive(Clone, Copy, Debug)]
pub(in crate::reader::container) struct Key {
    pub(in crate::reader::container) base: Base,
    pub(in crate::reader::container) file: &'static str,
    pub(in crate::reader::container) within: Within,
    pub(in crate::reader::container) since: Option<&'static str>,
}

pub(in crate::reader::container) const fn whole(file: &'static str) -> Key {
    Key { base: Base::Cgroup, file, within: Within::Whole, since: None }
}

pub(in crate::reader::container) const fn key(file: &'static str, key: &'static str) -> Key {
    Key { within: Within::Key(key), ..whole(file) }
}

pub(in crate::reader::container) const fn part(file: &'static str, part: &'static str) -> Key {
    Key { within: Within::Part(part), ..whole(file) }
}

impl Key {
    pub(in crate::reader::container) const fn of(self, base: Base) -> Self {
        Self { base, ..self }
    }

    /// The first kernel that has it, for the explanation of its absence.
    pub(in crate::reader::container) const fn since(self, kernel: &'static str) -> Self {
        Self { since: Some(kernel), ..self }
    }

    pub(in crate::reader::container) const fn sparse(self) -> Self {
        match self.within {
            Within::Key(key) => Self { within: Within::Sparse(key), ..self },
            _ => self,
        }
    }

    /// The file's name for people.
    fn file_text(&self) -> String {
        match self.base {
            Base::Cgroup | Base::Kernel => self.file.to_owned(),
            Base::Proc => format!("/proc/{}", self.file),
            Base::Process => format!("/proc/<pid>/{}", self.file),
            Base::Sys => format!("/sys/{}", self.file),
        }
    }
}

/// The values a statistic is made of, in alternatives of which the first counts that is there.
#[derive(Clone, Debug, Default)]
pub(in crate::reader::container) struct Keys(pub(in crate::reader::container) Vec<Vec<Key>>);

impl<const N: usize> From<[Key; N]> for Keys {
    fn from(keys: [Key; N]) -> Self {
        Self(vec![keys.to_vec()])
    }
}

impl Keys {
    /// This version of cgroups does not have it.
    pub(in crate::reader::container) const NONE: Self = Self(Vec::new());

    pub(in crate::reader::container) fn or<const N: usize>(mut self, keys: [Key; N]) -> Self {
        self.0.push(keys.to_vec());
        self
    }
}

/// `cpu.stat: nr_periods, nr_throttled`.
pub(in crate::reader::container) fn text_of(keys: &[Key]) -> String {
    let mut text = String::new();
    let mut last = None;
    for key in keys {
        let same_file = last == Some(key.file);
        last = Some(key.file);
        if !text.is_empty() {
            text.push_str(", ");
        }
        if !same_file {
            text.push_str(&key.file_text());
        }
        if let Within::Key(word) | Within::Sparse(word) | Within::Part(word) = key.within {
            if !same_file {
                text.push_str(": ");
            }
            text.push_str(word);
        }
    }
    text
}

/// Whether a word of the file marks a value: it begins a line or follows a space, and a value follows.
pub(in crate::reader::container) fn holds(text: &[u8], key: &str) -> bool {
    let key = key.as_bytes();
    (0..text.len()).filter(|at| text[*at..].starts_with(key)).any(|at| {
        let before = at.checked_sub(1).map(|before| text[before]);
        let after = text.get(at + key.len());
        matches!(before, None | Some(b' ' | b'\n')) && matches!(after, Some(b' ' | b'=' | b':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_reported_briefly() {
        assert_eq!(text_of(&[whole("memory.current")]), "memory.current");
        let two = [whole("memory.current"), key("memory.stat", "inactive_file"), key("memory.stat", "file")];
        assert_eq!(text_of(&two), "memory.current, memory.stat: inactive_file, file");
        assert_eq!(
            text_of(&[part("net/dev", "receive bytes").of(Base::Process)]),
            "/proc/<pid>/net/dev: receive bytes"
        );
    }

    #[test]
    fn a_key_is_a_whole_word_before_a_value() {
        let text = b"file_mapped 1\nanon 2\n8:0 rbytes=3 wios=4\nMax open files   5\nMemTotal: 6 kB\n";
        for key in ["file_mapped", "anon", "rbytes", "wios", "Max open files", "MemTotal"] {
            assert!(holds(text, key), "{key}");
        }
        for key in ["file", "mapped", "bytes", "kB"] {
            assert!(!holds(text, key), "{key}");
        }
    }
}
