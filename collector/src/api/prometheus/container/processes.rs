//! Processes, threads, descriptors.

use crate::api::prometheus::family::{Context, Family, Group};
use crate::api::prometheus::value::{Text, Value};
use crate::sample::kinds::MetricKind::Process;
use crate::sample::unread::Part;

pub(super) const FAMILIES: &[Family] = &[
    Family::gauge("container_processes", "Processes of the cgroup itself.", |row, _, out| {
        Context::processes(row, out, |processes| processes.count);
    })
    .of(Process, Group::Processes)
    .recommended(),
    Family::gauge("container_file_descriptors", "Descriptors that those processes have open.", |row, _, out| {
        Context::processes(row, out, |processes| processes.descriptors);
    })
    .of(Process, Group::Processes),
    Family::gauge("container_sockets", "Those of the descriptors that are sockets.", |row, _, out| {
        Context::processes(row, out, |processes| processes.sockets);
    })
    .of(Process, Group::Processes),
    Family::gauge("container_threads", "Tasks of the subtree.", |row, _, out| {
        // Without a controller that counts them: at least the processes, as cAdvisor has it.
        let counted = row.sample.is_some_and(|sample| sample.unread.has(Part::Pids));
        Context::processes(row, out, |processes| processes.threads.or(processes.count.filter(|_| !counted)));
    })
    .of(Process, Group::Processes)
    .recommended(),
    Family::gauge("container_threads_max", "Tasks that are allowed; 0 for any number.", |row, _, out| {
        let is_read = row.sample.is_some_and(|sample| !sample.unread.has(Part::PidsMax));
        Context::processes(row, out, |processes| processes.threads_max.or(is_read.then_some(0)));
    })
    .of(Process, Group::Processes),
    Family::gauge("container_ulimits_soft", "Soft limits of the first process; -1 for none.", |row, _, out| {
        if let Some((soft, _)) = row.processes.and_then(|processes| processes.max_open_files) {
            let soft = i64::try_from(soft).unwrap_or(-1);
            out.with(&[("ulimit", Text::Is("max_open_files"))], Value::Signed(soft));
        }
    })
    .of(Process, Group::Processes)
    .labels(&["ulimit"]),
];
