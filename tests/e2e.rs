//! End-to-end tests: a running collector, the real kernel.
//!
//! One file per behaviour a user can see, over HTTP. `support` is what they stand on; `selftest` tries those tools
//! against the kernel without a collector.

#![forbid(unsafe_code)]

mod answers;
mod api_v2;
mod application;
mod application_bounds;
mod attacks;
mod auth;
mod bad_input;
mod beside_cadvisor;
mod blocklatency;
mod budgets;
mod connections;
mod contained;
mod dashboards;
mod degraded;
mod deployed;
mod descriptors;
mod died;
mod dimensions_events;
mod dimensions_lockdown;
mod dimensions_machine;
mod dimensions_memory;
mod dimensions_namespaces;
mod dimensions_privileges;
mod discovery;
mod docker_api;
mod doctor;
mod engine_containers;
mod events_http;
mod final_sample;
mod flags;
mod fleet;
mod fuzz_api;
mod globs;
mod guessing;
mod helm;
mod hierarchies;
mod history;
mod identity;
mod installed;
mod kernel_memory;
mod kubelet;
mod kubelet_ports;
mod last_readings;
mod look_back;
mod machine;
mod manifests;
mod metrics;
mod monitors;
mod named;
mod names;
mod network;
mod network_cgroup;
mod odd_kernel_text;
mod on_request;
mod oom;
mod openapi;
mod page;
mod parity;
mod paths;
mod pods;
mod programs;
mod prometheus;
mod push;
mod push_failures;
mod push_stores;
mod recreate;
mod reload;
mod runqueue;
mod runtime_proxy;
mod runtimes;
mod selftest;
mod shutdown;
mod start_under_churn;
mod statistics_v1;
mod statistics_v2;
mod storage;
mod storm;
mod support;
mod systemd_unit;
mod top;
mod unprivileged;
mod unreachable;
mod vanishing;

use std::process::ExitCode;

use support::harness::{self, Suite};

const SUITE: Suite = Suite {
    lanes: [
        // What the others stand on first; then the kernel, and container engines, of which all lanes have the same.
        &[
            selftest::CASES,
            died::CASES,
            programs::CASES,
            machine::CASES,
            discovery::CASES,
            hierarchies::CASES,
            paths::CASES,
            recreate::CASES,
            statistics_v1::CASES,
            statistics_v2::CASES,
            odd_kernel_text::CASES,
            parity::CASES,
            network::CASES,
            oom::CASES,
            vanishing::CASES,
            descriptors::CASES,
            runtimes::CASES,
            identity::CASES,
            named::CASES,
            dimensions_machine::CASES,
            dimensions_memory::CASES,
            dimensions_events::CASES,
            dimensions_namespaces::CASES,
            names::CASES,
            runtime_proxy::CASES,
            deployed::CASES,
            fleet::CASES,
            contained::CASES,
            engine_containers::CASES,
            docker_api::CASES,
            pods::CASES,
            kubelet_ports::CASES,
            storage::CASES,
            systemd_unit::CASES,
            installed::CASES,
        ],
        // What is answered and pushed.
        &[
            on_request::CASES,
            history::CASES,
            answers::CASES,
            api_v2::CASES,
            kubelet::CASES,
            openapi::CASES,
            events_http::CASES,
            degraded::CASES,
            unprivileged::CASES,
            doctor::CASES,
            bad_input::CASES,
            fuzz_api::CASES,
            flags::CASES,
            reload::CASES,
            auth::CASES,
            guessing::CASES,
            connections::CASES,
            globs::CASES,
            dimensions_privileges::CASES,
            manifests::CASES,
            helm::CASES,
        ],
        // What asks back, and what takes its time; what looks at all that an engine reports is through by the time that these
        // have one.
        &[
            push::CASES,
            push_failures::CASES,
            look_back::CASES,
            unreachable::CASES,
            metrics::CASES,
            prometheus::CASES,
            application::CASES,
            application_bounds::CASES,
            dashboards::CASES,
            monitors::CASES,
        ],
    ],
    alone: &[
        // They look at all containers of the machine.
        page::CASES,
        top::CASES,
        push_stores::CASES,
        shutdown::CASES,
        beside_cadvisor::CASES,
        final_sample::CASES,
        last_readings::CASES,
        storm::CASES,
        budgets::CASES,
        start_under_churn::CASES,
        kernel_memory::CASES,
        runqueue::CASES,
        network_cgroup::CASES,
        blocklatency::CASES,
        attacks::CASES,
        // Last: lockdown stays until the next boot.
        dimensions_lockdown::CASES,
    ],
};

fn main() -> ExitCode {
    harness::main(&SUITE)
}
