//! Grafana's own types of dashboards, and the compiler that holds dashboards against them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::harness::Skip;
use super::{Context as _, Result, ensure, settings};

/// In exactly these builds: Grafana's package, which is generated from the schemas, and the compiler.
const PACKAGE: &str = include_str!("grafana/package.json");
const LOCK: &str = include_str!("grafana/package-lock.json");
/// What the constants stand behind.
const HEAD: &str = include_str!("grafana/head.ts");

/// Complains about whatever Grafana does not know of these dashboards, or misses; each is a name and its JSON.
pub(crate) fn check(dashboards: &[(String, String)]) -> Result<()> {
    if settings::in_vm() {
        return Err(Skip::because("a virtual machine has no packages"));
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/grafana");
    fs::create_dir_all(&folder)?;
    let compiler = folder.join("node_modules/typescript/bin/tsc");
    if !compiler.is_file() || fs::read_to_string(folder.join("package-lock.json")).ok().as_deref() != Some(LOCK) {
        fs::write(folder.join("package.json"), PACKAGE)?;
        fs::write(folder.join("package-lock.json"), LOCK)?;
        let mut install = Command::new("npm");
        install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
        match install.stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
                return Err(Skip::because(format!("Grafana's types cannot be had: {said}")));
            }
            Err(error) => return Err(Skip::because(format!("npm does not run: {error}"))),
        }
    }
    let mut text = HEAD.to_owned();
    for (name, json) in dashboards {
        text.extend(["export const ", name, "_: Plain<Ours> = ", json, ";\n"]);
    }
    // Of this process: the suite may run twice.
    let file = folder.join(format!("check-{}.ts", std::process::id()));
    fs::write(&file, text)?;
    let mut compile = Command::new("node");
    compile.arg(compiler).args(["--noEmit", "--strict", "--skipLibCheck", "--target", "es2020"]);
    let checked = compile.args(["--moduleResolution", "node"]).arg(&file).stdin(Stdio::null()).output();
    fs::remove_file(&file)?;
    let checked = checked.context("node does not run")?;
    let said = String::from_utf8_lossy(&checked.stdout);
    ensure!(checked.status.success(), "{}", said.chars().take(4000).collect::<String>());
    Ok(())
}
