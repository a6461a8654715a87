//! What is served in a kubelet's place, and where.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::access::TlsFiles;
use super::{ConfigError, value_error};
use crate::auth::FlagFile;
use crate::disk_usage::PodPlaces;
use crate::sample::event::Name;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Kubelet")]
pub(super) struct KubeletArgs {
    /// Name of the node in /stats/summary; by default the host's name in small letters
    #[arg(long = "node_name", default_value = "")]
    node_name: String,
    /// The kubelet's root directory on the host, with the volumes of pods
    #[arg(long = "kubelet_root", default_value = "/var/lib/kubelet")]
    kubelet_root: PathBuf,
    /// The directory of pods' logs on the host
    #[arg(long = "kubelet_pod_logs", default_value = "/var/log/pods")]
    kubelet_pod_logs: PathBuf,
    /// The cgroup reported as system container `kubelet`; by default that of its systemd unit
    #[arg(long = "kubelet_cgroups", default_value = "")]
    kubelet_cgroups: String,
    /// The cgroup reported as system container `runtime`; by default that of the runtime's systemd unit
    #[arg(long = "runtime_cgroups", default_value = "")]
    runtime_cgroups: String,
    /// The cgroup reported as system container `misc`; by default there is none
    #[arg(long = "system_cgroups", default_value = "")]
    system_cgroups: String,
    /// Port for the kubelet's endpoints alone, without TLS or authentication, like a kubelet's 10255; 0 for none
    #[arg(long = "kubelet_read_only_port", default_value_t = 0)]
    kubelet_read_only_port: u16,
    /// Port for the kubelet's endpoints alone, with TLS and authentication, like a kubelet's 10250; 0 for none
    #[arg(long = "kubelet_port", default_value_t = 0)]
    kubelet_port: u16,
    /// The kubelet port's certificate in PEM; by default the main port's
    #[arg(long = "kubelet_tls_cert_file", default_value = "")]
    kubelet_tls_cert_file: String,
    /// The certificate's private key in PEM; by default the main port's
    #[arg(long = "kubelet_tls_private_key_file", default_value = "")]
    kubelet_tls_private_key_file: String,
    /// CA certificates in PEM: clients whose certificate they signed may use the kubelet port
    #[arg(long = "kubelet_client_ca_file", default_value = "")]
    kubelet_client_ca_file: String,
    /// File of bearer tokens, one a line, for the kubelet port; by default the main port's
    #[arg(long = "kubelet_token_file", default_value = "")]
    kubelet_token_file: String,
}

/// What is served in a kubelet's place, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeletConfig {
    /// The node's name.
    pub node_name: String,
    /// Where the kubelet keeps what belongs to pods.
    pub places: PodPlaces,
    /// Cgroups of the system, as far as they were given.
    pub cgroups: SystemCgroups,
    /// The port for everybody.
    pub read_only: Option<SocketAddr>,
    /// The port for known clients.
    pub secure: Option<SecurePort>,
}

/// Cgroups of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemCgroups {
    /// The kubelet's.
    pub kubelet: Option<Name>,
    /// The container runtime's.
    pub runtime: Option<Name>,
    /// That of everything else.
    pub misc: Option<Name>,
}

/// A port for known clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurePort {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How connections are encrypted.
    pub tls: TlsFiles,
    /// Whose signature on a certificate lets its owner in.
    pub client_ca: Option<FlagFile>,
    /// Tokens that let in whoever has one.
    pub tokens: Option<FlagFile>,
}

impl KubeletArgs {
    /// What they mean, beside what is said for the main port.
    pub(super) fn config(
        &self,
        ip: IpAddr,
        tls: Option<&TlsFiles>,
        tokens: Option<&FlagFile>,
    ) -> Result<KubeletConfig, ConfigError> {
        let at = |port: u16| (port != 0).then(|| SocketAddr::new(ip, port));
        let secure = at(self.kubelet_port).map(|listen| self.secure(listen, tls, tokens)).transpose()?;
        let node_name = if self.node_name.is_empty() {
            rustix::system::uname().nodename().to_string_lossy().to_lowercase()
        } else {
            self.node_name.clone()
        };
        Ok(KubeletConfig {
            node_name,
            places: PodPlaces { kubelet: self.kubelet_root.clone(), logs: self.kubelet_pod_logs.clone() },
            cgroups: SystemCgroups {
                kubelet: cgroup("kubelet_cgroups", &self.kubelet_cgroups)?,
                runtime: cgroup("runtime_cgroups", &self.runtime_cgroups)?,
                misc: cgroup("system_cgroups", &self.system_cgroups)?,
            },
            read_only: at(self.kubelet_read_only_port),
            secure,
        })
    }

    fn secure(
        &self,
        listen: SocketAddr,
        tls: Option<&TlsFiles>,
        tokens: Option<&FlagFile>,
    ) -> Result<SecurePort, ConfigError> {
        let wrong = |problem: &str| value_error("kubelet_port", &self.kubelet_port, &problem);
        let own = (
            FlagFile::given("kubelet_tls_cert_file", &self.kubelet_tls_cert_file),
            FlagFile::given("kubelet_tls_private_key_file", &self.kubelet_tls_private_key_file),
        );
        let tls = match own {
            (Some(certificate), Some(key)) => TlsFiles { certificate, key },
            (None, None) => {
                let none = || wrong("needs --kubelet_tls_cert_file and --kubelet_tls_private_key_file");
                tls.cloned().ok_or_else(none)?
            }
            _ => return Err(wrong("needs both --kubelet_tls_cert_file and --kubelet_tls_private_key_file")),
        };
        let client_ca = FlagFile::given("kubelet_client_ca_file", &self.kubelet_client_ca_file);
        let tokens = FlagFile::given("kubelet_token_file", &self.kubelet_token_file).or_else(|| tokens.cloned());
        if client_ca.is_none() && tokens.is_none() {
            return Err(wrong("no client could authenticate; add --kubelet_client_ca_file or --kubelet_token_file"));
        }
        Ok(SecurePort { listen, tls, client_ca, tokens })
    }
}

fn cgroup(flag: &'static str, name: &str) -> Result<Option<Name>, ConfigError> {
    match name {
        "" => Ok(None),
        "/" => Err(value_error(flag, &name, &"the root is the node; name a cgroup below it")),
        name if name.starts_with('/') => Ok(Some(name.trim_end_matches('/').as_bytes().into())),
        name => Err(value_error(flag, &name, &"a cgroup's path, which begins with a slash")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct KubeletLine {
        #[command(flatten)]
        args: KubeletArgs,
    }

    fn config(flags: &[&str], tls: Option<&TlsFiles>) -> Result<KubeletConfig, String> {
        let line = KubeletLine::parse_from(std::iter::once("collector").chain(flags.iter().copied()));
        line.args.config([127, 0, 0, 1].into(), tls, None).map_err(|error| error.to_string())
    }

    #[test]
    fn by_default_only_the_main_port() {
        let config = config(&[], None).unwrap();
        assert_eq!((config.read_only, config.secure), (None, None));
        assert!(!config.node_name.is_empty());
        assert_eq!(config.places.kubelet, PathBuf::from("/var/lib/kubelet"));
        assert_eq!(config.cgroups, SystemCgroups::default());
    }

    #[test]
    fn ports_and_who_may_ask() {
        let file = |flag, path: &str| FlagFile { flag, path: path.into() };
        let main = TlsFiles { certificate: file("tls_cert_file", "c"), key: file("tls_private_key_file", "k") };
        let given = config(&["--kubelet_port=10250", "--kubelet_client_ca_file=ca"], Some(&main)).unwrap();
        let secure = given.secure.unwrap();
        assert_eq!(
            (secure.listen.port(), secure.client_ca, secure.tls),
            (10250, Some(file("kubelet_client_ca_file", "ca")), main.clone())
        );
        let own = ["--kubelet_tls_cert_file=x", "--kubelet_tls_private_key_file=y"];
        let flags = [own[0], own[1], "--kubelet_port=1", "--kubelet_token_file=t", "--kubelet_read_only_port=10255"];
        let given = config(&flags, Some(&main)).unwrap();
        assert_eq!(
            given.secure.unwrap().tls,
            TlsFiles {
                certificate: file("kubelet_tls_cert_file", "x"),
                key: file("kubelet_tls_private_key_file", "y")
            }
        );
        assert_eq!(given.read_only.unwrap().port(), 10255);
        for (flags, tls) in [
            (&["--kubelet_port=1"][..], Some(&main)),
            (&["--kubelet_port=1", "--kubelet_client_ca_file=ca"], None),
            (&["--kubelet_port=1", "--kubelet_client_ca_file=ca", "--kubelet_tls_cert_file=x"], Some(&main)),
        ] {
            assert!(config(flags, tls).unwrap_err().starts_with("--kubelet_port=1: "), "{flags:?}");
        }
    }

    #[test]
    fn cgroups_are_paths() {
        let given = config(&["--runtime_cgroups=/system.slice/x.service/"], None).unwrap();
        assert_eq!(given.cgroups.runtime.as_deref(), Some(&b"/system.slice/x.service"[..]));
        assert!(config(&["--system_cgroups=/"], None).is_err());
        assert!(config(&["--kubelet_cgroups=x"], None).is_err());
    }
}
