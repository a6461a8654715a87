//! End-to-end tests: a running collector, the real kernel.
//!
//! One file per behaviour a user can see, over HTTP. `support` is what they stand on; `selftest` tries those tools
//! against the kernel without a collector.

mod api_v2;
mod bad_input;
mod degraded;
mod descriptors;
mod discovery;
mod docker_containers;
mod events_http;
mod final_sample;
mod hierarchies;
mod history;
mod machine;
mod network;
mod oom;
mod paths;
mod recreate;
mod selftest;
mod shutdown;
mod start_under_churn;
mod statistics_v1;
mod statistics_v2;
mod storm;
mod support;
mod unprivileged;
mod vanishing;

use std::process::ExitCode;

use support::harness::{self, Case};

/// All tests, in the order they run: what the others stand on first.
const FILES: [&[Case]; 23] = [
    selftest::CASES,
    machine::CASES,
    discovery::CASES,
    hierarchies::CASES,
    paths::CASES,
    recreate::CASES,
    statistics_v1::CASES,
    statistics_v2::CASES,
    network::CASES,
    history::CASES,
    api_v2::CASES,
    events_http::CASES,
    oom::CASES,
    final_sample::CASES,
    storm::CASES,
    start_under_churn::CASES,
    vanishing::CASES,
    descriptors::CASES,
    degraded::CASES,
    unprivileged::CASES,
    bad_input::CASES,
    shutdown::CASES,
    docker_containers::CASES,
];

fn main() -> ExitCode {
    harness::main(&FILES.concat())
}
