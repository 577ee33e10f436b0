//! A machine that is not this one, as far as the kernel is concerned: a network namespace at the other end of a pair of
//! virtual lines.
//!
//! Owns: the namespace, both ends of the line, and their removal.
//! Leaves to others: what runs there.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

/// The addresses of the line are from the block that RFC 2544 gives to measurements; one of 64 networks of four addresses
/// there is ours by our process id.
const BLOCK: [u8; 2] = [198, 18];

/// A namespace. It goes when this is dropped.
pub struct Away {
    name: String,
    near: Ipv4Addr,
}

impl Away {
    /// Makes one; says why not where that is not permitted.
    pub fn new() -> Result<Away, String> {
        let id = std::process::id();
        let network = u8::try_from(id % 64).unwrap_or_default() * 4;
        let [near, far] = [1, 2].map(|host| Ipv4Addr::new(BLOCK[0], BLOCK[1], 0, network + host));
        let away = Away { name: format!("mediahost-{id}"), near };
        let [here, there] = [format!("mh{id}a"), format!("mh{id}b")];
        ip(&["netns", "add", &away.name])?;
        ip(&["link", "add", &here, "type", "veth", "peer", "name", &there, "netns", &away.name])?;
        ip(&["addr", "add", &format!("{near}/30"), "dev", &here])?;
        ip(&["link", "set", &here, "up"])?;
        ip(&["-n", &away.name, "addr", "add", &format!("{far}/30"), "dev", &there])?;
        ip(&["-n", &away.name, "link", "set", &there, "up"])?;
        Ok(away)
    }

    /// Our address as it is seen from there.
    pub fn near(&self) -> IpAddr {
        self.near.into()
    }

    /// A command that runs there.
    pub fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        // The line goes with it.
        drop(ip(&["netns", "delete", &self.name]));
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
