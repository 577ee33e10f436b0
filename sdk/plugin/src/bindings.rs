//! What `wit-bindgen` makes of the contract: one module per world, with the shared interfaces generated once.

/// `world media-source`.
pub mod media_source {
    wit_bindgen::generate!({
        path: ["wit/host", "wit/media-source"],
        world: "mediahost:media-source/media-source",
        pub_export_macro: true,
        additional_derives: [PartialEq],
        default_bindings_module: "mediahost_plugin_sdk::bindings::media_source",
        generate_all,
    });
}

/// What `world computed-media-source` adds to `world media-source`. A component may be put together from several
/// worlds, so a source that computes exports both modules.
pub mod computed {
    wit_bindgen::generate!({
        path: ["wit/host", "wit/media-source"],
        inline: "
            package mediahost:sdk;
            world computed { export mediahost:media-source/computed@0.1.0; }
        ",
        world: "mediahost:sdk/computed",
        pub_export_macro: true,
        additional_derives: [PartialEq],
        default_bindings_module: "mediahost_plugin_sdk::bindings::computed",
        with: { "mediahost:host/types@0.1.0": super::media_source::mediahost::host::types },
    });
}

/// `world container-detector`.
pub mod container_detector {
    wit_bindgen::generate!({
        path: ["wit/host", "wit/container-detector"],
        world: "mediahost:container-detector/container-detector",
        pub_export_macro: true,
        additional_derives: [PartialEq],
        default_bindings_module: "mediahost_plugin_sdk::bindings::container_detector",
        with: {
            "mediahost:host/types@0.1.0": super::media_source::mediahost::host::types,
            "mediahost:container-detector/types@0.1.0": generate,
        },
    });
}
