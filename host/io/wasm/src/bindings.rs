//! What `wasmtime` makes of the contract: one module per world, with the shared interfaces generated once.
//!
//! Nothing outside this crate sees these types; `convert` turns them into those of the port.

/// `world media-source`.
pub mod media_source {
    wasmtime::component::bindgen!({
        path: ["../../../wit/host", "../../../wit/media-source"],
        world: "mediahost:media-source/media-source",
        imports: {
            "mediahost:host/kv": async,
        },
        exports: { default: async },
    });
}

/// `world media-source-sync`: what it has beside the above.
pub mod media_source_sync {
    wasmtime::component::bindgen!({
        path: ["../../../wit/host", "../../../wit/media-source"],
        world: "mediahost:media-source/media-source-sync",
        imports: {
            "mediahost:host/fetch-sync": async,
        },
        exports: { default: async },
        with: {
            "mediahost:host/types": super::media_source::mediahost::host::types,
            "mediahost:host/fetch-types": super::media_source::mediahost::host::fetch_types,
            "mediahost:host/log": super::media_source::mediahost::host::log,
            "mediahost:host/config": super::media_source::mediahost::host::config,
            "mediahost:host/secrets": super::media_source::mediahost::host::secrets,
            "mediahost:host/kv": super::media_source::mediahost::host::kv,
            "mediahost:host/clock": super::media_source::mediahost::host::clock,
            "mediahost:media-source/types": super::media_source::mediahost::media_source::types,
        },
    });
}

/// What the `computed` worlds add.
pub mod computed {
    wasmtime::component::bindgen!({
        path: ["../../../wit/host", "../../../wit/media-source"],
        inline: "
            package mediahost:adapter;
            world computed { export mediahost:media-source/computed@0.1.0; }
        ",
        world: "mediahost:adapter/computed",
        exports: { default: async },
        with: { "mediahost:host/types": super::media_source::mediahost::host::types },
    });
}

/// What the `computed` sync world adds.
pub mod computed_sync {
    wasmtime::component::bindgen!({
        path: ["../../../wit/host", "../../../wit/media-source"],
        inline: "
            package mediahost:adapter;
            world computed-sync { export mediahost:media-source/computed-sync@0.1.0; }
        ",
        world: "mediahost:adapter/computed-sync",
        exports: { default: async },
        with: { "mediahost:host/types": super::media_source::mediahost::host::types },
    });
}

/// `world container-detector`.
pub mod container_detector {
    wasmtime::component::bindgen!({
        path: ["../../../wit/host", "../../../wit/container-detector"],
        world: "mediahost:container-detector/container-detector",
        exports: { default: async },
        with: { "mediahost:host/types": super::media_source::mediahost::host::types },
    });
}
