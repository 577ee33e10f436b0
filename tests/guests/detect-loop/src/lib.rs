//! Never comes back from a look at a file called `*.loopy`.

use mediahost_plugin_sdk::detect::{Detector, Layout, Stop, Subject};

struct Guest;

impl Detector for Guest {
    fn detect(_: &Subject) -> Result<Option<Layout>, Stop> {
        loop {
            std::hint::black_box(());
        }
    }
}

mediahost_plugin_sdk::container_detector!(Guest, "plugin.json");
