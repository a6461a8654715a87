//! Helm, to check and render the chart: the program where it is installed, else its library for Python.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::harness::Skip;
use super::{Context as _, Result, bail, ensure, manifests, settings};

/// Helm's own library for Python programs, in exactly this build.
const LIBRARY: &str = "helm-python-sdk==0.2.2 \
    --hash=sha256:28cc13abaf134c3a7e37f070c939be8d9cdc9825c3c8b8b2d35161073bcd4578";
/// The release that is rendered.
pub(crate) const RELEASE: &str = "test";
/// Its namespace.
pub(crate) const NAMESPACE: &str = "observed";

/// Reads what to do from standard input, with the library.
const SCRIPT: &str = r#"
import json, sys
from helm_python import chart
asked = json.load(sys.stdin)
values = asked["values"]
report = chart.lint(asked["chart"], values, strict=True, kube_version="v1.30.0")
wrong = [message["error"] for message in report["messages"] if message["severity"] > 1] + report["errors"]
if wrong:
    sys.exit("\n".join(wrong))
loaded = chart.Chart.load(asked["chart"])
loaded.validate_schema(values)
rendered = loaded.render(values=values, name=asked["name"], namespace=asked["namespace"])
print("\n---\n".join(text for path, text in sorted(rendered.items()) if path.endswith(".yaml")))
"#;

/// How Helm is asked.
#[derive(Debug)]
pub(crate) enum Helm {
    /// The program.
    Program(PathBuf),
    /// The folder with the library.
    Library(PathBuf),
}

impl Helm {
    /// Finds it; skips the test where there is none.
    pub(crate) fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if let Some(program) =
            std::env::split_paths(&path).map(|folder| folder.join("helm")).find(|path| path.is_file())
        {
            return Ok(Self::Program(program));
        }
        if settings::in_vm() {
            return Err(Skip::because("helm is not installed, and a virtual machine has no packages"));
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/helm");
        if !folder.join("helm_python").is_dir() {
            fs::create_dir_all(&folder)?;
            let wanted = folder.join("requirements.txt");
            fs::write(&wanted, LIBRARY)?;
            let mut install = Command::new("python3");
            install.args(["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target"]);
            let ran = install.arg(&folder).arg("--requirement").arg(&wanted).stdin(Stdio::null()).output();
            let reason = match ran {
                Ok(output) if output.status.success() => return Ok(Self::Library(folder)),
                Ok(output) => String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
                Err(error) => format!("python3 does not run: {error}"),
            };
            return Err(Skip::because(format!("helm is not installed, and its library cannot be had: {reason}")));
        }
        Ok(Self::Library(folder))
    }

    /// The objects of the chart with these values, checked strictly beforehand; the error is Helm's.
    pub(crate) fn render(&self, values: &Value) -> Result<Vec<Value>> {
        let chart = manifests::path("helm/collector")?;
        let text = match self {
            Self::Program(program) => {
                let run = |arguments: &[&str], name: &[&str]| {
                    let mut command = Command::new(program);
                    command.args(arguments).args(name).arg(&chart).args(["--namespace", NAMESPACE, "--values", "-"]);
                    said(feed(command, &values.to_string())?)
                };
                run(&["lint", "--strict"], &[])?;
                run(&["template", "--kube-version=1.30.0"], &[RELEASE])?
            }
            Self::Library(folder) => {
                let mut command = Command::new("python3");
                command.args(["-c", SCRIPT]).env("PYTHONPATH", folder);
                let asked = serde_json::json!({
                    "chart": chart, "values": values, "name": RELEASE, "namespace": NAMESPACE,
                });
                said(feed(command, &asked.to_string())?)?
            }
        };
        let objects = manifests::documents(&text)?;
        Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
    }
}

fn feed(mut command: Command, input: &str) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {}", command.get_program().display()))?;
    child.stdin.take().context("standard input is a pipe")?.write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?)
}

fn said(output: Output) -> Result<String> {
    if !output.status.success() {
        bail!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    ensure!(!text.is_empty(), "helm says nothing");
    Ok(text)
}
