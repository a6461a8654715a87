//! Where each CPU has its own data, for a program of another object.

use aya::EbpfLoader;
use aya::maps::{Array, MapError};
use collector_ebpf::plan::{COUNTED_CPUS, Field, Fields};

use super::load::{OBJECT, find_cpus};
use crate::kernel::HostRoots;
use crate::kernel::probes::load::{LastReadings, broken, countable_cpus, object_failed};
use crate::kernel::probes::support::Unavailable;

/// Has CPU time of cgroups read while they are removed.
///
/// # Errors
/// Why it is not: then the last samples have what was in files.
pub fn have_last_time_read(mut readings: LastReadings, roots: &HostRoots) -> Result<(), String> {
    let pointers = readings.array_pointers().ok_or("this kernel's types have no bpf_array.pptrs")?;
    let count = countable_cpus(roots);
    if count == 0 {
        return Err(format!("there may be more than {COUNTED_CPUS} CPUs, or it is not known how many"));
    }
    let areas = find(&readings, pointers, count).map_err(|unavailable| unavailable.why())?;
    readings.set_cpus(&areas).map_err(|error| error.to_string())
}

/// For each CPU the distance from the address that all share. Nothing stays loaded.
fn find(readings: &LastReadings, pointers: u32, cpus: u32) -> Result<[u64; COUNTED_CPUS], Unavailable> {
    let mut fields: Fields = [0; Field::ALL.len()];
    fields[Field::ArrayPointers as usize] = pointers;
    let mut loader = EbpfLoader::new();
    loader.override_global("FIELDS", &fields, true).override_global("CPU_COUNT", &cpus, true);
    // The map is part of the object; unused, it may be as small as the kernel allows.
    loader.map_max_entries("RECORDS", rustix::param::page_size() as u32);
    let mut ebpf = loader.load(OBJECT).map_err(|error| object_failed(&error, &readings.facts))?;
    find_cpus(&mut ebpf, &readings.facts)?;
    let areas = ebpf.map("CPU_AREAS").ok_or_else(|| broken(&"no map CPU_AREAS"))?;
    let areas: Array<_, [u64; COUNTED_CPUS]> = areas.try_into().map_err(|error: MapError| broken(&error))?;
    areas.get(&0, 0).map_err(|error| broken(&error))
}
