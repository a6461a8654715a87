//! Memory by NUMA node.

use super::{Family, Mounted, Place, Reading, Rows, fields};
use crate::kernel::cgroup::v1::memory::{NumaRows, NumaStat};
use crate::kernel::cgroup::v2::memory::numa_stat;
use crate::kernel::file::KeptFile;
use crate::kernel::odd_lines::OddLines;
use crate::reader::container::rows::Section;
use crate::reader::container::rows::keys::key;
use crate::sample::container::{Numa, NumaPages, Sample};
use crate::sample::kinds::MetricKind;
use crate::sample::statistic::Value;

/// Since 5.10 on v2.
const FILE: &str = "memory.numa_stat";

#[derive(Debug, Default)]
pub(in crate::reader::container) struct NumaFiles {
    stat: KeptFile,
}

impl Family for NumaFiles {
    /// With memory, which has a kind of its own on v1.
    fn place(&self, mounted: &Mounted<'_>) -> Option<Place> {
        let place = mounted.wanted(MetricKind::MemoryNuma, "memory");
        place.filter(|place| matches!(place, Place::V2(_)) || mounted.wants(MetricKind::Memory))
    }

    fn each(&mut self, each: &mut dyn FnMut(&mut KeptFile)) {
        each(&mut self.stat);
    }

    fn read(&mut self, place: Option<Place>, reading: &mut Reading<'_>, sample: &mut Sample) {
        if let (Some(place), Some(memory)) = (place, &mut sample.memory) {
            memory.numa = self.numa(place, reading);
        }
    }

    fn explain(&self, place: Option<Place>, rows: &mut Rows<'_>, sample: &Sample) {
        let section = match rows.when(MetricKind::MemoryNuma) {
            Ok(()) => rows.section(place, MetricKind::Memory, "memory", Some("memory")),
            Err(absence) => Section::absent(absence),
        };
        explain(&section, rows, sample.memory.as_ref().and_then(|memory| memory.numa.as_ref()));
    }
}

impl NumaFiles {
    fn numa(&mut self, place: Place, reading: &mut Reading<'_>) -> Option<Numa> {
        match place {
            Place::V1(position) => {
                let numa = reading.kept_lines(position, FILE, &mut self.stat, NumaStat::parse);
                numa.map(|numa| Numa { own: pages(numa.own), hierarchical: pages(numa.hierarchical) })
            }
            Place::V2(position) => {
                let page_size = rustix::param::page_size() as u64;
                let rows = |text: &[u8], odd: &mut OddLines| numa_stat(text, page_size, odd);
                let numa = reading.kept_lines(position, FILE, &mut self.stat, rows).map(pages);
                numa.map(|numa| Numa { own: numa.clone(), hierarchical: numa })
            }
            Place::Kernel(_) => None,
        }
    }
}

fn pages(rows: NumaRows) -> NumaPages {
    NumaPages { file: rows.file, anon: rows.anon, unevictable: rows.unevictable }
}

fn explain(section: &Section, rows: &mut Rows<'_>, numa: Option<&Numa>) {
    fields!(numa => Numa { own, hierarchical });
    // On v2 both are the subtree's.
    let names = ["memory.numa.own.file", "memory.numa.own.anon", "memory.numa.own.unevictable"];
    pages_rows(section, rows, own, names, ["file", "anon", "unevictable"]);
    let names =
        ["memory.numa.hierarchical.file", "memory.numa.hierarchical.anon", "memory.numa.hierarchical.unevictable"];
    let v1 = ["hierarchical_file", "hierarchical_anon", "hierarchical_unevictable"];
    pages_rows(section, rows, hierarchical, names, v1);
}

fn pages_rows(
    section: &Section,
    rows: &mut Rows<'_>,
    pages: Option<&NumaPages>,
    names: [&'static str; 3],
    v1: [&'static str; 3],
) {
    fields!(pages => NumaPages { file, anon, unevictable });
    for (number, (pages, v2)) in [(file, "file"), (anon, "anon"), (unevictable, "unevictable")].into_iter().enumerate()
    {
        let by_node = |(node, pages): &(u32, u64)| (node.to_string(), Value::Count(*pages));
        let value = pages.filter(|pages| !pages.is_empty()).map(|pages| pages.iter().map(by_node).collect());
        let row = |word| key("memory.numa_stat", word).since("5.10");
        rows.add_value(names[number], value.map(Value::Named), section, [row(v1[number])], [row(v2)]);
    }
}
