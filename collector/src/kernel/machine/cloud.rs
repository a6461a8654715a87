//! Which cloud the machine was rented from, as its firmware describes it: `/sys/class/dmi/id`.
//!
//! Nothing is asked over the network: a metadata service may be filtered, and answers whoever asks.

use super::Survey;
use crate::kernel::HostRoots;

/// The asset tag of every machine of Azure, and of no other of Microsoft's hypervisors.
const AZURE_TAG: &str = "7783-7084-3265-9085-8269-3286-77";

/// Who rents the machine out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Amazon EC2: `sys_vendor`, and on the older Xen machines `product_version`.
    Aws,
    /// Microsoft Azure: `chassis_asset_tag`.
    Azure,
    /// Google Compute Engine: `product_name`.
    Gce,
}

/// A rented machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// Who rents it out.
    pub provider: Provider,
    /// EC2 since Nitro: `product_name`, such as `m5.large`.
    pub instance_type: Option<String>,
    /// EC2 since Nitro: `board_asset_tag`, such as `i-0123456789abcdef0`. Azure: `product_uuid`, which only root may
    /// read.
    pub instance_id: Option<String>,
}

/// The cloud, if it is one that is known.
pub fn cloud(survey: &mut Survey, roots: &HostRoots) -> Option<Cloud> {
    let mut read = |file: &str| survey.text(&roots.sys.join("class/dmi/id").join(file)).unwrap_or_default();
    let product = read("product_name");
    if product.contains("Google") {
        return Some(Cloud { provider: Provider::Gce, instance_type: None, instance_id: None });
    }
    if read("sys_vendor") == "Amazon EC2" || read("product_version").contains("amazon") {
        let tag = read("board_asset_tag");
        return Some(Cloud {
            provider: Provider::Aws,
            // Xen machines are called "HVM domU".
            instance_type: Some(product).filter(|product| product.contains('.')),
            instance_id: Some(tag).filter(|tag| tag.starts_with("i-")),
        });
    }
    (read("chassis_asset_tag") == AZURE_TAG).then(|| Cloud {
        provider: Provider::Azure,
        instance_type: None,
        instance_id: Some(read("product_uuid")).filter(|uuid| !uuid.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(files: &[(&str, &str)]) -> Option<Cloud> {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        let roots = HostRoots { proc: at("proc"), sys: at("sys"), cgroup: at("cgroup"), rootfs: at("rootfs") };
        let dmi = roots.sys.join("class/dmi/id");
        std::fs::create_dir_all(&dmi).unwrap();
        for (file, content) in files {
            std::fs::write(dmi.join(file), format!("{content}\n")).unwrap();
        }
        cloud(&mut Survey::default(), &roots)
    }

    #[test]
    fn machines_as_their_firmware_describes_them() {
        let found = |provider, instance_type: Option<&str>, instance_id: Option<&str>| {
            let [instance_type, instance_id] = [instance_type, instance_id].map(|text| text.map(str::to_owned));
            Some(Cloud { provider, instance_type, instance_id })
        };
        for (files, cloud) in [
            (&[][..], None),
            (&[("sys_vendor", "QEMU"), ("product_name", "Standard PC (Q35 + ICH9, 2009)")], None),
            (
                &[
                    ("sys_vendor", "Amazon EC2"),
                    ("product_name", "m5.large"),
                    ("board_asset_tag", "i-0123456789abcdef0"),
                ],
                found(Provider::Aws, Some("m5.large"), Some("i-0123456789abcdef0")),
            ),
            (
                &[("sys_vendor", "Xen"), ("product_name", "HVM domU"), ("product_version", "4.11.amazon")],
                found(Provider::Aws, None, None),
            ),
            (&[("sys_vendor", "Google"), ("product_name", "Google Compute Engine")], found(Provider::Gce, None, None)),
            (
                &[
                    ("sys_vendor", "Microsoft Corporation"),
                    ("product_name", "Virtual Machine"),
                    ("chassis_asset_tag", AZURE_TAG),
                    ("product_uuid", "a-b"),
                ],
                found(Provider::Azure, None, Some("a-b")),
            ),
            // Hyper-V at somebody's own place.
            (&[("sys_vendor", "Microsoft Corporation"), ("product_name", "Virtual Machine")], None),
        ] {
            assert_eq!(described(files), cloud, "{files:?}");
        }
    }
}
