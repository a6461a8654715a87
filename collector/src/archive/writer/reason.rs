//! Why nothing can be written, with the fix.

use std::io;
use std::path::Path;

use crate::archive::segment::SegmentError;
use crate::archive::shown;

/// For the log, the health report and the page.
pub(super) fn reason(directory: &Path, error: &SegmentError) -> String {
    let fix = match error {
        SegmentError::Io(error) => match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free space on its file system, or lower --history_bytes"
            }
            io::ErrorKind::ReadOnlyFilesystem => "mount it writable, or drop --history_dir",
            io::ErrorKind::PermissionDenied => {
                "let the collector's user write there; with the systemd unit use a directory below /var/lib/collector"
            }
            io::ErrorKind::NotFound => "create the directory above it",
            _ => "look for errors of the disk",
        },
        SegmentError::Database(_) | SegmentError::Format(_) => {
            "give each collector a directory of its own, or move its files away"
        }
    };
    format!(
        "history: nothing can be written to {} ({error}): what happens now cannot be looked at later, everything else is \
         served, and so is what is kept already; {fix}",
        shown(directory)
    )
}
