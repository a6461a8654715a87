//! `/validate/`: what the machine offers, in the shape of cAdvisor's report.

use std::fmt::Write as _;

use axum::response::{IntoResponse, Response};

use super::machine::{container_os_version, kernel_version};
use crate::api::backend::{Node, Validation};
use crate::sample::machine::Machine;

/// How cAdvisor judges a part.
const RECOMMENDED: &str = "[Supported and recommended]";
const SUPPORTED: &str = "[Supported, but not recommended]";
const UNKNOWN: &str = "[Unknown]";

/// Answers a request.
pub(crate) fn answer(source: &impl Node) -> Response {
    report(&source.machine(), source.version(), &source.validation()).into_response()
}

fn report(machine: &Machine, version: &str, validation: &Validation) -> String {
    let Validation { hierarchies, kernel_events, shortcomings, containers, lost_events: _ } = validation;
    let mut text = format!("cAdvisor version: {version}\n\nOS version: {}\n\n", container_os_version(machine));
    let mut block = |title: &str, status: &str, lines: &[String]| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{title}: {status}");
        for line in lines {
            let _ = writeln!(text, "\t{line}");
        }
        text.push('\n');
    };
    let mut kernel = vec![format!("Kernel version is {}; kernel events: {kernel_events}.", kernel_version(machine))];
    kernel.extend(shortcomings.iter().cloned());
    block("Kernel version", if shortcomings.is_empty() { RECOMMENDED } else { SUPPORTED }, &kernel);
    block("Cgroup setup", RECOMMENDED, &[format!("Hierarchies: {hierarchies}.")]);
    block("Cgroup mount setup", RECOMMENDED, &["Cgroups are mounted and can be read.".to_owned()]);
    block("Docker version", UNKNOWN, &["Docker is not asked for its version.".to_owned()]);
    block("Docker driver setup", UNKNOWN, &["Docker is not asked for its storage driver.".to_owned()]);
    match machine.disks.as_ref().map(Vec::len) {
        Some(disks) => block("Block device setup", RECOMMENDED, &[format!("Block devices: {disks}.")]),
        None => block("Block device setup", SUPPORTED, &["Block devices cannot be listed.".to_owned()]),
    }
    block("Managed containers", "", &[containers.to_string()]);
    block("Inotify watches", "", &["None: cgroups are not looked for by them.".to_owned()]);
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_report_has_cadvisors_blocks() {
        let validation = Validation {
            hierarchies: "v2",
            kernel_events: "ebpf",
            shortcomings: vec!["no last samples: CAP_SYS_NICE is missing".to_owned()],
            containers: 7,
            lost_events: Some(0),
        };
        let machine = Machine { kernel_release: "6.1.0".to_owned(), ..Machine::default() };
        expect![[r"
            cAdvisor version: v1

            OS version: Unknown

            Kernel version: [Supported, but not recommended]
            	Kernel version is 6.1.0; kernel events: ebpf.
            	no last samples: CAP_SYS_NICE is missing

            Cgroup setup: [Supported and recommended]
            	Hierarchies: v2.

            Cgroup mount setup: [Supported and recommended]
            	Cgroups are mounted and can be read.

            Docker version: [Unknown]
            	Docker is not asked for its version.

            Docker driver setup: [Unknown]
            	Docker is not asked for its storage driver.

            Block device setup: [Supported, but not recommended]
            	Block devices cannot be listed.

            Managed containers: 
            	7

            Inotify watches: 
            	None: cgroups are not looked for by them.

        "]]
        .assert_eq(&report(&machine, "v1", &validation));
    }
}
