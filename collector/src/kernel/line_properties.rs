//! Every parser of a file with lines against lines that the kernel never wrote: an odd one costs at most itself.

use super::cgroup::memory_stat::StatLayouts;
use super::cgroup::mounts::{memberships, mounts};
use super::cgroup::v1::blkio::blkio_lines;
use super::cgroup::v1::cpuacct::CpuacctStat;
use super::cgroup::v1::memory::{NumaRows, NumaStat, oom_kills};
use super::cgroup::v2::hugetlb::events_max;
use super::cgroup::v2::io::io_stat;
use super::cgroup::v2::memory::{MemoryEvents, numa_stat};
use super::cgroup::v2::pressure::Pressure;
use super::cgroup::{v1, v2};
use super::machine::cpu_times;
use super::machine::memory::MemInfo;
use super::machine::{diskstats, mounts as machine_mounts};
use super::odd_lines::OddLines;
use super::odd_lines::properties::{Doubled, Recorded, Values, only_the_line_is_lost};
use crate::kernel::procfs::network::interfaces;
use crate::kernel::procfs::process::table::Status;
use crate::kernel::procfs::process::{Listing, max_open_files};
use crate::kernel::procfs::sockets::{counters, tcp_states};
use crate::kernel::procfs::users::Users;

/// A file of which a line costs the values whose names begin with what `of_line` makes of it.
fn check(
    text: &str,
    doubled: Doubled,
    of_line: impl Fn(&str) -> String,
    values: impl Fn(&[u8], &mut OddLines) -> Values,
) {
    let values = |text: &[u8]| values(text, &mut OddLines::default());
    let of_line = |line: &str, name: &str| name.split('|').next() == Some(&of_line(line));
    only_the_line_is_lost(&Recorded { text: text.as_bytes(), doubled, of_line: &of_line, values: &values });
}

/// Names are `what its line is about|the value`.
fn named<'a>(pairs: impl IntoIterator<Item = (String, &'a str, Option<u64>)>) -> Values {
    let shown =
        pairs.into_iter().filter_map(|(line, name, value)| Some((format!("{line}|{name}"), value?.to_string())));
    shown.collect()
}

fn by_key<const N: usize>(pairs: [(&str, Option<u64>); N]) -> Values {
    named(pairs.map(|(key, value)| (key.to_owned(), "", value)))
}

fn first_word(line: &str) -> String {
    line.split(' ').next().unwrap_or_default().to_owned()
}

fn before(separator: char) -> impl Fn(&str) -> String {
    move |line| line.trim_start().split(separator).next().unwrap_or_default().to_owned()
}

/// With one digit more the line of all CPUs is one of another CPU.
#[test]
fn machine_cpu_times() {
    let text = "cpu  10132153 290696 3084719 46828483 16683 0 25195 0 175628 0\ncpu0 1393280 32966 572056\nintr 5\n";
    let about = |line: &str| line.get(..3).unwrap_or_default().to_owned();
    check(text, Doubled::Adds, about, |text, odd| {
        let times = cpu_times::parse(text, odd);
        let total = times.total.map(|total| total.0);
        named([("cpu".to_owned(), "total", total), ("cpu".to_owned(), "online", Some(times.online.into()))])
    });
}

#[test]
fn cpu_stat() {
    let text = "nr_periods 3\nnr_throttled 2\nthrottled_time 170000000\nnr_bursts 1\nburst_time 5\n";
    check(text, Doubled::Same, first_word, |text, odd| {
        let stat = v1::cpu::CpuStat::parse(text, odd);
        by_key([
            ("nr_periods", stat.nr_periods),
            ("nr_throttled", stat.nr_throttled),
            ("throttled_time", stat.throttled_time),
            ("nr_bursts", stat.nr_bursts),
            ("burst_time", stat.burst_time),
        ])
    });
    let text = "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nnice_usec 0\nnr_periods 10\nnr_throttled 4\n\
                throttled_usec 123\nnr_bursts 2\nburst_usec 45\n";
    check(text, Doubled::Same, first_word, |text, odd| {
        let stat = v2::cpu::CpuStat::parse(text, odd);
        let bandwidth = stat.bandwidth.unwrap_or_default();
        by_key([
            ("usage_usec", stat.usage_usec),
            ("user_usec", stat.user_usec),
            ("system_usec", stat.system_usec),
            ("nr_periods", bandwidth.nr_periods),
            ("nr_throttled", bandwidth.nr_throttled),
            ("throttled_usec", bandwidth.throttled_usec),
            ("nr_bursts", bandwidth.nr_bursts),
            ("burst_usec", bandwidth.burst_usec),
        ])
    });
    check("user 44\nsystem 3\n", Doubled::Same, first_word, |text, odd| {
        let stat = CpuacctStat::parse(text, odd);
        by_key([("user", stat.user), ("system", stat.system)])
    });
}

#[test]
fn memory_stat() {
    let text = "cache 1\nrss 20\nmapped_file 30\nswap 0\npgfault 3300\ntotal_cache 1\ntotal_rss 21\ntotal_swap 7\n";
    let layouts = StatLayouts::default();
    check(text, Doubled::Same, first_word, |text, odd| {
        let mut last = None;
        let values = layouts.parse(text, &mut last, odd);
        assert_eq!(layouts.parse(text, &mut last, odd), values);
        let keys = last.unwrap();
        named(keys.keys().iter().zip(values).map(|(key, value)| (key.to_string(), "", Some(value))))
    });
}

#[test]
fn memory_events_and_kills() {
    let text = "low 0\nhigh 2\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n";
    check(text, Doubled::Same, first_word, |text, odd| {
        let MemoryEvents { low, high, max, oom, oom_kill, oom_group_kill } = MemoryEvents::parse(text, odd);
        by_key([
            ("low", low),
            ("high", high),
            ("max", max),
            ("oom", oom),
            ("oom_kill", oom_kill),
            ("oom_group_kill", oom_group_kill),
        ])
    });
    let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
    check(text, Doubled::Same, first_word, |text, odd| by_key([("oom_kill", oom_kills(text, odd))]));
    check("max 9\n", Doubled::Same, first_word, |text, odd| by_key([("max", events_max(text, odd))]));
}

fn rows(of: &str, NumaRows { file, anon, unevictable }: NumaRows) -> Values {
    let mut values = Values::new();
    for (kind, nodes) in [("file", file), ("anon", anon), ("unevictable", unevictable)] {
        for (node, pages) in nodes {
            values.insert(format!("{of}{kind}|{node}"), pages.to_string());
        }
    }
    values
}

#[test]
fn numa_stat_of_both_versions() {
    let text = "total=54 N0=50 N1=4\nfile=54 N0=50 N1=4\nanon=3 N0=2 N1=1\nunevictable=0 N0=0 N1=0\n\
                hierarchical_total=61 N0=54 N1=7\nhierarchical_file=54 N0=50 N1=4\nhierarchical_anon=7 N0=4 N1=3\n";
    check(text, Doubled::Same, before('='), |text, odd| {
        let NumaStat { own, hierarchical } = NumaStat::parse(text, odd);
        rows("", own).into_iter().chain(rows("hierarchical_", hierarchical)).collect()
    });
    let text = "anon N0=12288 N1=4096\nfile N0=8192 N1=0\nkernel_stack N0=16384 N1=0\nunevictable N0=0 N1=0\n";
    check(text, Doubled::Same, first_word, |text, odd| rows("", numa_stat(text, 4096, odd)));
}

#[test]
fn block_devices() {
    let text =
        "8:0 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0 cost.usage=11\n253:7 rbytes=9 wios=1\n";
    check(text, Doubled::Same, first_word, |text, odd| {
        let mut values = Values::new();
        io_stat(text, odd, |row| {
            let of = format!("{}:{}", row.major, row.minor);
            for (name, value) in
                [("rbytes", row.rbytes), ("wbytes", row.wbytes), ("rios", row.rios), ("wios", row.wios)]
            {
                values.extend(named([(of.clone(), name, value)]));
            }
        });
        values
    });
    let text = "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 1\n8:0 Async 2\n8:0 Discard 0\n8:0 Total 12288\n253:7 Read 5\nTotal 12293\n";
    let of_line = |line: &str| line.rsplit_once(' ').map(|(operation, _)| operation.to_owned()).unwrap_or_default();
    check(text, Doubled::Same, of_line, |text, odd| {
        let lines = blkio_lines(text, odd);
        named(
            lines
                .map(|line| (format!("{}:{} {}", line.major, line.minor, line.operation.name()), "", Some(line.value))),
        )
    });
    let text = " 254       0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13\n   7       0 loop0 9 0 0 0 0 0 0 0 0 0 0\n";
    let of_line = |line: &str| line.split_ascii_whitespace().nth(2).unwrap_or_default().to_owned();
    check(text, Doubled::Same, of_line, |text, odd| {
        let table = diskstats::parse(text, odd);
        let reads = |name: &str, number| table.of(&format!("/dev/{name}"), number).map(|stats| stats.reads);
        by_key([("vda", reads("vda", (254, 0))), ("loop0", reads("loop0", (7, 0)))])
    });
}

#[test]
fn pressure() {
    let text =
        "some avg10=5.87 avg60=3.26 avg300=1.03 total=12876437\nfull avg10=0.00 avg60=0.05 avg300=9.00 total=7\n";
    check(text, Doubled::Same, first_word, |text, odd| {
        let Pressure { some, full } = Pressure::parse(text, odd);
        by_key([("some", some.map(|row| row.total)), ("full", full.map(|row| row.total))])
    });
}

#[test]
fn processes() {
    check("12\n3456\n78\n", Doubled::Same, str::to_owned, |text, odd| {
        named(Listing::parse(text, odd).visible.into_iter().map(|pid| (pid.to_string(), "", Some(1))))
    });
    let text =
        "Name:\tcat\nUid:\t1000\t33\t1000\t1000\nVmSize:\t    5492 kB\nVmLck:\t       1 kB\nVmRSS:\t     936 kB\n";
    check(text, Doubled::Same, before(':'), |text, odd| {
        let status = Status::parse(text, odd);
        by_key([
            ("Uid", status.effective_user.map(u64::from)),
            ("VmSize", status.size_kb),
            ("VmLck", status.locked_kb),
            ("VmRSS", status.resident_kb),
        ])
    });
    let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                Max processes             96365                96365                processes\n\
                Max open files            1024                 4096                 files\n";
    check(
        text,
        Doubled::Same,
        |line| line.chars().take(14).collect(),
        |text, _| by_key([("Max open files", max_open_files(text).ok().map(|(soft, _)| soft))]),
    );
    check("root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/:\n", Doubled::Same, before(':'), |text, _| {
        let users = Users::parse(text);
        let named =
            [("root", 0), ("www", 33)].map(|(name, id)| (name, users.name(id).filter(|n| *n == name).map(|_| 1)));
        by_key(named)
    });
}

#[test]
fn network() {
    let text = "Inter-|   Receive                        |  Transmit\n face |bytes    packets errs|bytes    packets\n\
                \x20   lo: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n  eth0: 11 12 13 14 0 0 0 0 15 16 17 18 0 0 0 0\n\
                 wlan1:21 22 23 24 0 0 0 0 25 26 27 28 0 0 0 0\n";
    check(text, Doubled::Same, before(':'), |text, odd| {
        let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        named(interfaces(text, odd).map(|line| (name(line.name), "", Some(line.receive.bytes + line.transmit.drop))))
    });
    let text = "  sl  local_address rem_address   st tx_queue rx_queue\n\
                \x20  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n\
                \x20  1: 0100007F:1F91 0100007F:9C40 01 00000000:00000003 00:00000000 00000000\n";
    let of_line = |line: &str| line.split_ascii_whitespace().nth(3).unwrap_or_default().to_owned();
    check(text, Doubled::Adds, of_line, |text, odd| {
        let counts = tcp_states(text, odd);
        by_key([("01", Some(counts[1]).filter(|n| *n > 0)), ("0A", Some(counts[10]).filter(|n| *n > 0))])
    });
    let text = "TcpExt: SyncookiesSent TW TCPNew\nTcpExt: 0 5 7\nIpExt: InNoRoutes InOctets\nIpExt: 3 -4\n";
    check(text, Doubled::Same, before(':'), |text, _| {
        let mut values = Values::new();
        for protocol in ["TcpExt", "IpExt"] {
            for (name, value) in counters(text, protocol.as_bytes()).into_iter().flatten() {
                let [name, value] = [name, value].map(|text| String::from_utf8_lossy(text).into_owned());
                values.insert(format!("{protocol}|{name}"), value);
            }
        }
        values
    });
}

#[test]
fn the_machine() {
    let text = "MemTotal:       24684084 kB\nMemFree:  1 kB\nSwapTotal:             8 kB\n";
    check(text, Doubled::Same, before(':'), |text, odd| {
        let MemInfo { mem_total_kb, swap_total_kb } = MemInfo::parse(text, odd);
        by_key([("MemTotal", mem_total_kb), ("SwapTotal", swap_total_kb)])
    });
    let text = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
                32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n";
    let of_line = |line: &str| line.split(' ').nth(4).unwrap_or_default().to_owned();
    check(text, Doubled::Same, of_line, |text, odd| {
        let at = |point: &[u8]| String::from_utf8_lossy(point).into_owned();
        named(mounts(text, odd).map(|mount| (at(&mount.point), "", Some(mount.file_system.len() as u64))))
    });
    check(text, Doubled::Same, of_line, |text, odd| {
        let mounts = machine_mounts::parse(text, odd);
        let at = |mount: &machine_mounts::Mount| mount.mount_point.display().to_string();
        named(mounts.iter().map(|mount| (at(mount), "", Some(mount.major.into()))))
    });
    check("9:name=systemd:/\n2:cpu,cpuacct:/a:b\n0::/init.scope\n", Doubled::Same, before(':'), |text, odd| {
        named(memberships(text, odd).map(|line| (line.hierarchy.to_string(), "", Some(1))))
    });
}
