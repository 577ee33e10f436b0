//! Asks for one more byte of a file called `*.needy` in each round, and when there are none left for one more sibling.

use mediahost_plugin_sdk::detect::{Detector, Layout, Stop, Subject};

struct Guest;

impl Detector for Guest {
    fn detect(subject: &Subject) -> Result<Option<Layout>, Stop> {
        for offset in 0..subject.size().unwrap_or(u64::MAX) {
            subject.want(&[(offset, 1)])?;
        }
        let names: Vec<String> = (0..1_000).map(|i| format!("volume-{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for known in 1..=names.len() {
            subject.sibling(&names[..known])?;
        }
        Ok(None)
    }
}

mediahost_plugin_sdk::container_detector!(Guest, "plugin.json");
