//! What outsiders size: how often something was larger than its bound, by bound, and how a text of theirs is shown.
//!
//! The counts are those of the process, like its memory, so whoever finds something too large needs no handle to say
//! so. The bounds themselves are with what they bound; `docs/limits.md` lists them by the names below.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that has a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Labels and environment variables of one container, by number.
    MetadataKeys,
    /// Bytes of a label's or a variable's name.
    MetadataKeyBytes,
    /// Bytes of a label's or a variable's value.
    MetadataValueBytes,
    /// Bytes of all labels and variables of one container.
    MetadataBytes,
    /// Bytes of all labels and variables of all containers.
    MetadataTotalBytes,
    /// Bytes of a container's name, image or path of a file.
    NameBytes,
    /// Bytes of a cgroup's path.
    CgroupPathBytes,
    /// Memory of the containers that are listed.
    ContainerMemory,
    /// Memory of all kept samples.
    HistoryMemory,
    /// Memory of what is kept of ended containers.
    EndedMemory,
    /// Memory of the event log.
    EventLogBytes,
    /// Events that wait for one client, in bytes.
    EventQueueBytes,
    /// Names whose restarts are counted.
    RestartNames,
    /// OOM kills whose cgroup is not known yet.
    UnattributedOoms,
    /// Bytes of a runtime's answer.
    RuntimeAnswerBytes,
    /// Time of a runtime's answer.
    RuntimeAnswerTime,
    /// Bytes of a file.
    FileBytes,
    /// Rows of a list.
    ListRows,
    /// Packets of cgroups beyond those whose sockets are counted.
    NetworkCgroups,
    /// Requests to block devices, by the programs that time them.
    BlockLatencyRequests,
    /// Bytes of what applications reported that are written to disk with one step.
    HistoryApplicationBytes,
}

const BOUNDS: usize = 21;

static EXCEEDED: [AtomicU64; BOUNDS] = [const { AtomicU64::new(0) }; BOUNDS];

impl Bound {
    /// Every bound.
    pub const ALL: [Self; BOUNDS] = [
        Self::MetadataKeys,
        Self::MetadataKeyBytes,
        Self::MetadataValueBytes,
        Self::MetadataBytes,
        Self::MetadataTotalBytes,
        Self::NameBytes,
        Self::CgroupPathBytes,
        Self::ContainerMemory,
        Self::HistoryMemory,
        Self::EndedMemory,
        Self::EventLogBytes,
        Self::EventQueueBytes,
        Self::RestartNames,
        Self::UnattributedOoms,
        Self::RuntimeAnswerBytes,
        Self::RuntimeAnswerTime,
        Self::FileBytes,
        Self::ListRows,
        Self::NetworkCgroups,
        Self::BlockLatencyRequests,
        Self::HistoryApplicationBytes,
    ];

    /// The value of the label `bound` of `collector_bound_exceeded_total`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MetadataKeys => "metadata_keys",
            Self::MetadataKeyBytes => "metadata_key_bytes",
            Self::MetadataValueBytes => "metadata_value_bytes",
            Self::MetadataBytes => "metadata_bytes",
            Self::MetadataTotalBytes => "metadata_total_bytes",
            Self::NameBytes => "name_bytes",
            Self::CgroupPathBytes => "cgroup_path_bytes",
            Self::ContainerMemory => "container_memory",
            Self::HistoryMemory => "history_memory",
            Self::EndedMemory => "ended_memory",
            Self::EventLogBytes => "event_log_bytes",
            Self::EventQueueBytes => "event_queue_bytes",
            Self::RestartNames => "restart_names",
            Self::UnattributedOoms => "unattributed_ooms",
            Self::RuntimeAnswerBytes => "runtime_answer_bytes",
            Self::RuntimeAnswerTime => "runtime_answer_time",
            Self::FileBytes => "file_bytes",
            Self::ListRows => "list_rows",
            Self::NetworkCgroups => "network_cgroups",
            Self::BlockLatencyRequests => "block_latency_requests",
            Self::HistoryApplicationBytes => "history_application_bytes",
        }
    }

    /// Counts something that was larger.
    pub fn exceeded(self) {
        self.exceeded_by(1);
    }

    /// Counts several at once.
    pub fn exceeded_by(self, times: u64) {
        EXCEEDED[self as usize].fetch_add(times, Ordering::Relaxed);
    }

    /// How often something was larger since the process began.
    pub fn count(self) -> u64 {
        EXCEEDED[self as usize].load(Ordering::Relaxed)
    }
}

/// Bytes of an outsider's text that a line of the log or a reason repeats at most.
const SHOWN: usize = 256;

/// A text of an outsider's as a line of the log shows it: escaped, so that it is one line and moves no cursor, and cut
/// with an ellipsis. The end of a path says more than its beginning, so both are kept.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        if bytes.len() <= SHOWN {
            return write_escaped(f, bytes);
        }
        // Where the cut falls into a character, what is left of it is shown as bytes.
        write_escaped(f, &bytes[..SHOWN / 2])?;
        f.write_char('…')?;
        write_escaped(f, &bytes[bytes.len() - SHOWN / 2..])
    }
}

/// A report for a terminal: lines stay lines, and every other control character, which names of cgroups, containers and
/// processes may have, is shown as an escape instead of being obeyed.
#[derive(Clone, Copy, Debug)]
pub struct ForTerminal<'a>(pub &'a str);

impl fmt::Display for ForTerminal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.split_inclusive('\n') {
            let text = line.strip_suffix('\n');
            write_escaped(f, text.unwrap_or(line).as_bytes())?;
            if text.is_some() {
                f.write_char('\n')?;
            }
        }
        Ok(())
    }
}

/// Printable characters as they are, whatever their language; everything else as escapes.
fn write_escaped(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                letter if letter.is_control() => write!(f, "{}", letter.escape_default())?,
                // Marks that turn the direction of writing around hide what a line says.
                '\u{200e}'
                | '\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{2028}'
                | '\u{2029}' => {
                    write!(f, "{}", letter.escape_unicode())?;
                }
                letter => f.write_char(letter)?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_no_name() {
        let report = "cgroup /a\u{1b}]0;x\u{7}\u{1b}[2J\r, layout v2\n\n\u{202e}caf\u{e9}\u{9b}1m\n";
        let shown = ForTerminal(report).to_string();
        assert_eq!(shown, "cgroup /a\\u{1b}]0;x\\u{7}\\u{1b}[2J\\r, layout v2\n\n\\u{202e}café\\u{9b}1m\n");
    }

    #[test]
    fn every_bound_has_its_own_name_and_its_row_in_the_documents() {
        let documents = include_str!("../../docs/limits.md");
        for (position, bound) in Bound::ALL.into_iter().enumerate() {
            assert_eq!(bound as usize, position, "{bound:?}");
            let in_row = documents.lines().any(|line| line.starts_with('|') && line.contains(bound.name()));
            assert!(in_row, "docs/limits.md has no row with `{}`", bound.name());
        }
    }

    #[test]
    fn counts_add_up() {
        let before = Bound::UnattributedOoms.count();
        Bound::UnattributedOoms.exceeded();
        Bound::UnattributedOoms.exceeded_by(2);
        assert!(Bound::UnattributedOoms.count() >= before + 3);
    }

    #[test]
    fn a_foreign_text_is_one_short_line() {
        assert_eq!(Shown("/a/größe".as_bytes()).to_string(), "/a/größe");
        assert_eq!(Shown(b"/a\x1b[2J\n\xff").to_string(), "/a\\u{1b}[2J\\n\\xff");
        assert_eq!(Shown("a\u{202e}b".as_bytes()).to_string(), "a\\u{202e}b");
        assert_eq!(Shown(&[b'x'; SHOWN]).to_string().len(), SHOWN);
        let long = [&[b'a'; 2000][..], &[b'z'; 2000][..]].concat();
        let shown = Shown(&long).to_string();
        assert!(shown.starts_with("aaa") && shown.ends_with("zzz") && shown.contains('…'));
        assert!(shown.len() < SHOWN + 4);
        assert!(Shown(&[0x1b; 4000]).to_string().len() <= SHOWN * 6 + 4, "escapes are bounded as well");
    }
}
