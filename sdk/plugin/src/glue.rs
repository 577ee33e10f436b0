//! What the macros put between a plugin's traits and the functions that a component exports.
//!
//! The macros expand in the plugin's crate and reach the rest through this module, so nothing of it is for people.

/// Makes a media source of a type that implements [`MediaSource`](crate::MediaSource).
///
/// The second argument is the path of the manifest, relative to the folder of the plugin's `Cargo.toml`.
#[macro_export]
macro_rules! media_source {
    ($source:ty, $manifest:literal) => {
        $crate::manifest!($manifest);
        const _: () = $crate::glue::is_source::<$source>();
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::glue::Source<$source>;
            $crate::bindings::media_source::export!(
                Component with_types_in $crate::bindings::media_source
            );
        };
    };
}

/// Makes a media source of a type that implements [`MediaSource`](crate::MediaSource) and
/// [`Computed`](crate::Computed). The manifest says `"computed": true`.
#[macro_export]
macro_rules! computed_source {
    ($source:ty, $manifest:literal) => {
        $crate::media_source!($source, $manifest);
        const _: () = $crate::glue::is_computed::<$source>();
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::glue::Source<$source>;
            $crate::bindings::computed::export!(
                Component with_types_in $crate::bindings::computed
            );
        };
    };
}

/// Makes a container detector of a type that implements [`Detector`](crate::detect::Detector).
#[macro_export]
macro_rules! container_detector {
    ($detector:ty, $manifest:literal) => {
        $crate::manifest!($manifest);
        const _: () = $crate::glue::is_detector::<$detector>();
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::glue::Detector<$detector>;
            $crate::bindings::container_detector::export!(
                Component with_types_in $crate::bindings::container_detector
            );
        };
    };
}

/// Puts the manifest where the host looks for it. Natively it only makes sure that the file is there.
#[doc(hidden)]
#[macro_export]
macro_rules! manifest {
    ($path:literal) => {
        const _: () = {
            const TEXT: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path));
            // SAFETY: a custom section is data that no code of the component reads; its name is this contract's alone.
            #[allow(unsafe_code)]
            #[cfg_attr(target_arch = "wasm32", unsafe(link_section = "mediahost-manifest"))]
            #[used]
            static MANIFEST: [u8; TEXT.len()] = {
                let mut bytes = [0; TEXT.len()];
                bytes.copy_from_slice(TEXT);
                bytes
            };
        };
    };
}

// A missing trait is told natively, and in the words of the trait.
pub const fn is_source<S: crate::MediaSource>() {}
pub const fn is_computed<S: crate::Computed>() {}
pub const fn is_detector<D: crate::detect::Detector>() {}

#[cfg(target_arch = "wasm32")]
pub use component::{Detector, Source};

#[cfg(target_arch = "wasm32")]
mod component {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::marker::PhantomData;
    use std::rc::Rc;
    use std::task::Poll;

    use wit_bindgen::rt::async_support::StreamReader;

    use crate::bindings::container_detector::exports::mediahost::container_detector::detector;
    use crate::bindings::container_detector::mediahost::container_detector::types::{
        Answer, DetectOptions, File, Window,
    };
    use crate::bindings::media_source::exports::mediahost::media_source::source;
    use crate::bindings::media_source::mediahost::media_source::types::OpenOptions;
    use crate::{Computed, Error, Header, Host, MediaSource, Open, Opened, Output, RefreshReason};

    /// A media source as the contract sees it.
    pub struct Source<S>(PhantomData<S>);

    fn request(uri: String, headers: Vec<Header>, options: OpenOptions) -> Open {
        Open { uri, headers, purpose: options.purpose, extra: options.extra }
    }

    impl<S: MediaSource> source::Guest for Source<S> {
        async fn open(uri: String, headers: Vec<Header>, options: OpenOptions) -> Result<Opened, Error> {
            S::open(&Host::imported(), request(uri, headers, options)).await
        }

        async fn refresh(
            uri: String,
            headers: Vec<Header>,
            options: OpenOptions,
            state: Vec<u8>,
            reason: RefreshReason,
        ) -> Result<Opened, Error> {
            S::refresh(&Host::imported(), request(uri, headers, options), state, reason).await
        }
    }

    impl<S: Computed + 'static> crate::bindings::computed::exports::mediahost::media_source::computed::Guest for Source<S> {
        /// Runs the plugin until its first byte, so that an error before it can be the answer; then hands out the
        /// stream and lets the plugin write the rest beside it.
        async fn read(state: Vec<u8>, segment: u32, offset: u64, length: u64) -> Result<StreamReader<u8>, Error> {
            let (writer, reader) = crate::bindings::computed::wit_stream::new::<u8>();
            let started = Rc::new(Cell::new(false));
            let mut out = Output { writer, started: started.clone() };
            let mut work =
                Box::pin(async move { S::read(&Host::imported(), state, segment, offset, length, &mut out).await });
            let early = poll_fn(|context| match work.as_mut().poll(context) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending if started.get() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            match early.await {
                Some(Err(error)) => return Err(error),
                Some(Ok(())) => {}
                None => {
                    wit_bindgen::spawn_local(async move {
                        if let Err(error) = work.await {
                            Host::imported().log(
                                crate::Level::Debug,
                                "computing stopped early",
                                &[("code", &error.code), ("message", &error.message)],
                            );
                        }
                    });
                }
            }
            Ok(reader)
        }
    }

    /// A detector as the contract sees it.
    pub struct Detector<D>(PhantomData<D>);

    impl<D: crate::detect::Detector> detector::Guest for Detector<D> {
        fn detect(files: Vec<File>, windows: Vec<Window>, options: DetectOptions) -> Result<Answer, Error> {
            crate::detect::answer::<D>(files, windows, options)
        }
    }
}
