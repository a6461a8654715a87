//! Golden `MachineInfo`, full and empty.

use std::collections::BTreeMap;

use expect_test::expect;

use super::*;
use crate::sample::machine::{Cloud, CloudProvider, CpuCounts, OsRelease, PersistentMemory};
use crate::units::WallTime;

fn cache(id: Option<u32>, kib: u64, kind: &str, level: u32) -> Cache {
    Cache { id, size: Bytes(kib * 1024), kind: kind.into(), level }
}

/// Everything a machine can have.
fn full() -> Machine {
    let pools =
        vec![HugePages { page_size: Bytes(1 << 30), pages: 2 }, HugePages { page_size: Bytes(2 << 20), pages: 512 }];
    Machine {
        at: WallTime(1_704_164_645_120_000_000),
        kernel_release: "6.12.1-test".into(),
        os: Some(OsRelease { pretty_name: Some("Test OS 1".into()) }),
        cpus: CpuCounts { online: 4, cores: Some(1), sockets: Some(2), books: Some(1), drawers: Some(1) },
        cpu_vendor: Some("GenuineIntel".into()),
        cpu_frequency_khz: Some(3_500_000),
        memory: Some(Bytes(68_719_476_736)),
        swap: Some(Bytes(1024)),
        memory_modules: Some(BTreeMap::from([
            ("Unbuffered-DDR4".into(), MemoryModules { capacity: Bytes(789), count: 2 }),
            ("Non-volatile-RAM".into(), MemoryModules { capacity: Bytes(1234), count: 1 }),
        ])),
        huge_pages: Some(pools.clone()),
        machine_id: Some("0123456789abcdef".into()),
        system_uuid: Some("4C4C4544-0000".into()),
        boot_id: Some("11111111-2222".into()),
        persistent_memory: Some(PersistentMemory { app_direct: Bytes(257_698_037_760) }),
        cloud: Some(Cloud {
            provider: CloudProvider::Aws,
            instance_type: Some("m5.large".into()),
            instance_id: Some("i-0123456789abcdef0".into()),
        }),
        filesystems: vec![
            Filesystem {
                device: "/dev/sda1".into(),
                capacity: Bytes(1 << 40),
                inodes: 1 << 20,
                ..Filesystem::default()
            },
            Filesystem { device: "/run".into(), capacity: Bytes(4096), ..Filesystem::default() },
        ],
        disks: Some(vec![
            Disk {
                name: "sda".into(),
                major: 8,
                minor: 0,
                size: Bytes(1 << 40),
                scheduler: Some("mq-deadline".into()),
            },
            Disk { name: "nvme0n1".into(), major: 259, minor: 0, size: Bytes(512), scheduler: None },
        ]),
        network_devices: Some(vec![
            NetworkDevice {
                name: "eth0".into(),
                mac_address: "00:16:3e:00:00:01".into(),
                speed_mbit: Some(10_000),
                mtu: 1500,
            },
            NetworkDevice { name: "ib0".into(), mac_address: "80:00".into(), speed_mbit: None, mtu: 4092 },
            NetworkDevice { name: "tun0".into(), mac_address: String::new(), speed_mbit: Some(-1), mtu: 1420 },
        ]),
        nodes: vec![
            Node {
                id: 0,
                memory: Some(Bytes(34_359_738_368)),
                huge_pages: Some(pools),
                cores: vec![Core {
                    id: 0,
                    socket: 0,
                    book: Some("1".into()),
                    drawer: Some("2".into()),
                    threads: vec![0, 2],
                    caches: vec![cache(Some(0), 32, "Data", 1), cache(Some(0), 32, "Instruction", 1)],
                    uncore_caches: vec![cache(Some(1), 32_768, "Unified", 3)],
                }],
                caches: vec![cache(Some(0), 65_536, "Unified", 4), cache(None, 65_536, "Unified", 5)],
                distances: Some(vec![10, 21]),
            },
            Node { id: 1, memory: Some(Bytes(34_359_738_368)), distances: Some(vec![21, 10]), ..Node::default() },
        ],
    }
}

#[test]
fn everything() {
    expect![[r#"
        {
          "timestamp": "2024-01-02T03:04:05.12Z",
          "vendor_id": "GenuineIntel",
          "num_cores": 4,
          "num_physical_cores": 1,
          "num_sockets": 2,
          "num_books": 1,
          "num_drawers": 1,
          "cpu_frequency_khz": 3500000,
          "memory_capacity": 68719476736,
          "swap_capacity": 1024,
          "memory_by_type": {
            "Non-volatile-RAM": {
              "capacity": 1234,
              "dimm_count": 1
            },
            "Unbuffered-DDR4": {
              "capacity": 789,
              "dimm_count": 2
            }
          },
          "nvm": {
            "memory_mode_capacity": 0,
            "app direct_mode_capacity": 257698037760,
            "avg_power_budget": 0
          },
          "hugepages": [
            {
              "page_size": 1048576,
              "num_pages": 2
            },
            {
              "page_size": 2048,
              "num_pages": 512
            }
          ],
          "machine_id": "0123456789abcdef",
          "system_uuid": "4C4C4544-0000",
          "boot_id": "11111111-2222",
          "filesystems": [
            {
              "device": "/dev/sda1",
              "capacity": 1099511627776,
              "type": "vfs",
              "inodes": 1048576,
              "has_inodes": true
            },
            {
              "device": "/run",
              "capacity": 4096,
              "type": "vfs",
              "inodes": 0,
              "has_inodes": true
            }
          ],
          "disk_map": {
            "259:0": {
              "name": "nvme0n1",
              "major": 259,
              "minor": 0,
              "size": 512,
              "scheduler": "none"
            },
            "8:0": {
              "name": "sda",
              "major": 8,
              "minor": 0,
              "size": 1099511627776,
              "scheduler": "mq-deadline"
            }
          },
          "network_devices": [
            {
              "name": "eth0",
              "mac_address": "00:16:3e:00:00:01",
              "speed": 10000,
              "mtu": 1500
            },
            {
              "name": "ib0",
              "mac_address": "80:00",
              "speed": 0,
              "mtu": 4092
            },
            {
              "name": "tun0",
              "mac_address": "",
              "speed": -1,
              "mtu": 1420
            }
          ],
          "topology": [
            {
              "node_id": 0,
              "memory": 34359738368,
              "hugepages": [
                {
                  "page_size": 1048576,
                  "num_pages": 2
                },
                {
                  "page_size": 2048,
                  "num_pages": 512
                }
              ],
              "cores": [
                {
                  "core_id": 0,
                  "thread_ids": [
                    0,
                    2
                  ],
                  "caches": [
                    {
                      "id": 0,
                      "size": 32768,
                      "type": "Data",
                      "level": 1
                    },
                    {
                      "id": 0,
                      "size": 32768,
                      "type": "Instruction",
                      "level": 1
                    }
                  ],
                  "uncore_caches": [
                    {
                      "id": 1,
                      "size": 33554432,
                      "type": "Unified",
                      "level": 3
                    }
                  ],
                  "socket_id": 0,
                  "book_id": "1",
                  "drawer_id": "2"
                }
              ],
              "caches": [
                {
                  "id": 0,
                  "size": 67108864,
                  "type": "Unified",
                  "level": 4
                }
              ],
              "distances": [
                10,
                21
              ]
            },
            {
              "node_id": 1,
              "memory": 34359738368,
              "hugepages": null,
              "cores": null,
              "caches": null,
              "distances": [
                21,
                10
              ]
            }
          ],
          "cloud_provider": "AWS",
          "instance_type": "m5.large",
          "instance_id": "i-0123456789abcdef0"
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&render(&full())).unwrap());
}

#[test]
fn nothing() {
    expect![[r#"
        {
          "timestamp": "1970-01-01T00:00:00Z",
          "vendor_id": "",
          "num_cores": 0,
          "num_physical_cores": 0,
          "num_sockets": 0,
          "cpu_frequency_khz": 0,
          "memory_capacity": 0,
          "swap_capacity": 0,
          "memory_by_type": {},
          "nvm": {
            "memory_mode_capacity": 0,
            "app direct_mode_capacity": 0,
            "avg_power_budget": 0
          },
          "hugepages": null,
          "machine_id": "",
          "system_uuid": "",
          "boot_id": "",
          "filesystems": null,
          "disk_map": null,
          "network_devices": null,
          "topology": null,
          "cloud_provider": "Unknown",
          "instance_type": "Unknown",
          "instance_id": ""
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&render(&Machine::default())).unwrap());
}

#[test]
fn empty_lists_of_devices_are_no_nulls() {
    let machine = Machine {
        disks: Some(Vec::new()),
        network_devices: Some(Vec::new()),
        huge_pages: Some(Vec::new()),
        ..Machine::default()
    };
    let value = serde_json::to_value(render(&machine)).unwrap();
    assert_eq!(value["disk_map"], serde_json::json!({}));
    assert_eq!(value["network_devices"], serde_json::json!([]));
    assert_eq!(value["hugepages"], serde_json::Value::Null);
}

#[test]
fn versions() {
    let machine = full();
    assert_eq!(kernel_version(&machine), "6.12.1-test");
    assert_eq!(container_os_version(&machine), "Test OS 1");
    assert_eq!(container_os_version(&Machine { os: Some(OsRelease::default()), ..Machine::default() }), "Linux");
    assert_eq!(container_os_version(&Machine::default()), "Unknown");
}
