//! A pod of containerd's CRI plugin, made as the kubelet makes one: a sandbox, and containers in it.

use std::path::PathBuf;

use super::containerd::{Containerd, IMAGE};
use super::engine::{Container, ContainerEngine, MEMORY_LIMIT};
use super::grpc::{self, Message};
use super::{Context as _, Result, ensure, wait};

/// `NamespaceMode.NODE`: the host's.
const NODE: u64 = 2;

/// The labels by which the kubelet's pods are distinguished.
pub(crate) const POD_LABELS: [(&str, &str); 3] = [
    ("io.kubernetes.pod.name", "collector-test"),
    ("io.kubernetes.pod.namespace", "default"),
    ("io.kubernetes.pod.uid", "3f2a8a52"),
];

/// Whose network a pod is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodNetwork {
    /// The host's.
    Host,
    /// Its own, in which is nothing until the test makes something.
    Own,
}

impl PodNetwork {
    /// A security context; its field for namespaces has another number for a container than for a sandbox.
    fn context(self, field: u8) -> Message {
        match self {
            Self::Host => Message::default().message(field, &Message::default().number(1, NODE)),
            Self::Own => Message::default(),
        }
    }
}

/// A running pod.
#[derive(Debug)]
pub(crate) struct Pod {
    containerd: Containerd,
    config: Message,
    sandbox: String,
    network: PodNetwork,
}

impl Pod {
    /// Starts containerd and a pod without containers.
    pub(crate) fn start(network: PodNetwork) -> Result<Self> {
        let containerd = Containerd::start("besteffort")?;
        let image = Message::default().text(1, IMAGE);
        wait::eventually(wait::seconds(20), || {
            let answer = call(&containerd, "ImageService/ImageStatus", &Message::default().message(1, &image))?;
            ensure!(grpc::first_block(&answer).is_some(), "the CRI plugin has not noticed the image");
            Ok(())
        })?;
        // PodSandboxConfig: metadata, and of linux the cgroup's parent and the security context.
        let metadata = Message::default().text(1, "collector-test").text(2, "3f2a8a52").text(3, "default");
        let linux = Message::default().text(1, containerd.pod()).message(2, &network.context(1));
        let logs = containerd.folder("logs").display().to_string();
        let config = labelled(Message::default().message(1, &metadata).text(3, &logs), 6).message(8, &linux);
        let answer = call(&containerd, "RuntimeService/RunPodSandbox", &Message::default().message(1, &config))?;
        let sandbox = id(&answer)?;
        Ok(Self { containerd, config, sandbox, network })
    }

    /// The engine below.
    pub(crate) fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// The cgroup of the sandbox, which holds the pod's namespaces.
    pub(crate) fn sandbox(&self) -> String {
        format!("{}/{}", self.containerd.pod(), self.sandbox)
    }

    /// containerd's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.containerd.socket()
    }

    fn call(&self, method: &str, request: &Message) -> Result<Vec<u8>> {
        call(&self.containerd, method, request)
    }
}

/// The message with the pod's labels in this field.
fn labelled(message: Message, field: u8) -> Message {
    POD_LABELS.into_iter().fold(message, |message, (name, value)| {
        message.message(field, &Message::default().text(1, name).text(2, value))
    })
}

fn call(containerd: &Containerd, method: &str, request: &Message) -> Result<Vec<u8>> {
    grpc::call(&containerd.socket(), &format!("/runtime.v1.{method}"), request)
        .with_context(|| format!("containerd said:\n{}", containerd.last_words()))
}

/// The id that answers.
fn id(answer: &[u8]) -> Result<String> {
    let id = grpc::first_block(answer).context("no id")?;
    Ok(String::from_utf8(id.to_vec())?)
}

impl ContainerEngine for Pod {
    fn start(&self, command: &str) -> Result<Container> {
        // A name that no other container of the pod has.
        let name = format!("c{:x}", super::time::Time::now_nanos());
        // LinuxContainerConfig: resources and security context.
        let linux = Message::default()
            .message(1, &Message::default().number(4, MEMORY_LIMIT))
            .message(2, &self.network.context(3));
        // The kubelet reports the name a second time, as a label.
        let label = Message::default().text(1, "io.kubernetes.container.name").text(2, &name);
        let config = labelled(Message::default(), 9)
            .message(9, &label)
            .message(1, &Message::default().text(1, &name))
            .message(2, &Message::default().text(1, IMAGE))
            .text(3, "/bin/busybox")
            .text(4, "sh")
            .text(4, "-c")
            .text(4, command)
            .text(11, &format!("{name}/0.log"))
            .message(15, &linux);
        let request = Message::default().text(1, &self.sandbox).message(2, &config).message(3, &self.config);
        let id = id(&self.call("RuntimeService/CreateContainer", &request)?)?;
        self.call("RuntimeService/StartContainer", &Message::default().text(1, &id))?;
        Ok(Container { cgroup: format!("{}/{id}", self.containerd.pod()), id })
    }

    fn remove(&self, container: &Container) -> Result<()> {
        let request = Message::default().text(1, &container.id);
        // With no time to end by itself.
        self.call("RuntimeService/StopContainer", &request)?;
        // A container that has only just ended counts as running for a moment more.
        wait::eventually(wait::seconds(5), || self.call("RuntimeService/RemoveContainer", &request).map(drop))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let request = Message::default().text(1, &self.sandbox);
        let _ = self.call("RuntimeService/StopPodSandbox", &request);
        let _ = self.call("RuntimeService/RemovePodSandbox", &request);
    }
}
