//! The machine's description: read at the start, and again now and then.

use std::sync::Arc;

use super::now;
use crate::config::Config;
use crate::daemon::backend::Backend;
use crate::kernel::HostRoots;
use crate::kernel::machine::container_mounts::ListedMounts;
use crate::kernel::machine::identity::IdentityFiles;
use crate::sample::machine::Machine;
use crate::supervisor::Supervisor;

/// Reads the machine's description now and then, on a thread that may hang with a file system of the machine.
pub(super) fn keep_machine_current(
    config: &Config,
    ids: IdentityFiles,
    answers: &Arc<Backend>,
    supervisor: &Supervisor,
) -> std::io::Result<()> {
    let roots = config.roots.clone();
    let (every, listed) = (config.machine_every, config.listed_mounts);
    let answers = Arc::downgrade(answers);
    supervisor.thread("machine", move || {
        loop {
            std::thread::sleep(every);
            let Some(answers) = answers.upgrade() else { return };
            let (machine, errors) = crate::reader::machine::read(&roots, &ids, listed, now());
            for error in &errors {
                answers.engine().context().errors().count_of_machine(error);
            }
            answers.set_machine(machine);
        }
    })?;
    Ok(())
}

pub(super) fn read_machine(roots: &HostRoots, ids: &IdentityFiles, listed: ListedMounts) -> Machine {
    let (machine, errors) = crate::reader::machine::read(roots, ids, listed, now());
    for error in errors {
        tracing::debug!(%error, "part of the machine's description is missing");
    }
    machine
}
