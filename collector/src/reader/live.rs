//! What is read at the moment somebody asks: it stands beside a sample that was taken just before.

use super::container::{ReaderContext, Scratch};
use crate::kernel::error::ReadError;
use crate::kernel::machine::cpu_times::cpu_times;
use crate::kernel::text_formats::unsigned;
use crate::sample::live::{Live, MachineCpu};

/// Reads it for the container of this name. What cannot be read is absent, and counted unless it is normal.
pub fn read(ctx: &ReaderContext, name: &[u8], scratch: &mut Scratch) -> Live {
    let buffer = scratch.buffer();
    let machine = match cpu_times(ctx.roots(), buffer) {
        Ok((times, odd)) => {
            if let Some(odd) = odd {
                ctx.errors().count("stat", &odd);
            }
            Some(MachineCpu { total: times.total, online: times.online })
        }
        Err(error) => {
            ctx.errors().count("stat", &error);
            None
        }
    };
    let tasks = ctx.hierarchies().with_controller("pids").and_then(|hierarchy| {
        let at = hierarchy.file(name, "pids.current");
        let parsed = at
            .read(buffer)
            .and_then(|text| unsigned(text).map_err(|reason| ReadError::Malformed { path: at.path(), reason }));
        match parsed {
            Ok(tasks) => Some(tasks),
            // The root has none, and a container may just have ended.
            Err(ReadError::Missing(_) | ReadError::Gone(_)) => None,
            Err(error) => {
                ctx.errors().count("pids.current", &error);
                None
            }
        }
    });
    Live { machine, tasks }
}
