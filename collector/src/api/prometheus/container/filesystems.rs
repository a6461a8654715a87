//! Sizes of file systems: the machine's at `/`, and what a container of a runtime uses of its own.

use crate::api::prometheus::family::{Context, Family, FilesystemRow, Group, Row};
use crate::api::prometheus::options::Profile;
use crate::api::prometheus::value::{Text, Value};
use crate::api::prometheus::writer::Writer;
use crate::sample::kinds::MetricKind::Disk;

/// Of the machine's file systems so many are reported in the recommended profile.
const FILESYSTEMS: usize = 2;

pub(super) const FAMILIES: &[Family] = &[
    Family::gauge("container_fs_limit_bytes", "Size of the file system.", |row, ctx, out| {
        each(row, ctx, out, |filesystem| Some(filesystem.limit));
    })
    .of(Disk, Group::Filesystems)
    .labels(&["device"])
    .recommended(),
    Family::gauge(
        "container_fs_usage_bytes",
        "What is in use of the file system; of a container's what the container uses.",
        |row, ctx, out| each(row, ctx, out, |filesystem| filesystem.usage),
    )
    .of(Disk, Group::Filesystems)
    .labels(&["device"])
    .recommended(),
    Family::gauge(
        "container_fs_inodes_total",
        "Inodes of the file system; of a container's those that the container uses.",
        |row, ctx, out| each(row, ctx, out, |filesystem| filesystem.inodes),
    )
    .of(Disk, Group::Filesystems)
    .labels(&["device"]),
    Family::gauge(
        "container_fs_inodes_free",
        "Inodes of the file system that are free; 0 of a container's.",
        |row, ctx, out| {
            each(row, ctx, out, |filesystem| match (filesystem.inodes_free, ctx.profile) {
                (None, Profile::Compatible) => Some(0),
                (free, _) => free,
            });
        },
    )
    .of(Disk, Group::Filesystems)
    .labels(&["device"]),
];

fn each<T: Into<Value>>(
    row: &Row<'_>,
    ctx: &Context<'_>,
    out: &mut Writer<'_>,
    get: impl Fn(&FilesystemRow<'_>) -> Option<T>,
) {
    // Only a container that is sampled is reported.
    if row.sample.is_none() {
        return;
    }
    for filesystem in ctx.at_most(FILESYSTEMS, row.filesystems.iter(), out) {
        if let Some(value) = get(filesystem) {
            out.with(&[("device", Text::Is(filesystem.device))], value);
        }
    }
}
