//! The host's side: files beside each other, the rules of asking, and the bytes that a title's extents give.

use std::collections::BTreeSet;

use detect_archive::Archive;
use mediahost_plugin_sdk::detect::testing::{HEAD_BYTES, MAX_ROUNDS, MAX_WINDOW_BYTES, Source};
use mediahost_plugin_sdk::detect::{Answer, DetectOptions, Error, ExtentOrigin, File, Layout, Title, Window, answer};

/// What the host opens for one look.
const MAX_SIBLINGS: usize = 256;

/// Files beside each other.
#[derive(Default)]
pub struct Folder {
    files: Vec<(String, Box<dyn Source>)>,
}

/// What became of a look.
pub struct Seen {
    pub layout: Option<Layout>,
    pub rounds: u32,
    pub bytes: u64,
    /// The names of all files that were asked for; the file itself is the first.
    pub asked: Vec<String>,
}

/// Why there is no layout.
#[derive(Debug)]
pub enum Fault {
    Said(Error),
    Broke(String),
}

impl Folder {
    pub fn with(mut self, name: &str, source: impl Source + 'static) -> Folder {
        self.files.push((name.into(), Box::new(source)));
        self
    }

    /// All files, one for each part of a name and its bytes.
    pub fn of(files: &[(String, Vec<u8>)]) -> Folder {
        files.iter().fold(Folder::default(), |folder, (name, bytes)| folder.with(name, bytes.clone()))
    }

    pub fn get(&self, name: &str) -> Option<&dyn Source> {
        self.files.iter().find(|(known, _)| known == name).map(|(_, source)| &**source)
    }

    /// Looks at a file as the host does; `endless` when it is not known how long it is.
    pub fn look(&self, name: &str, endless: bool) -> Result<Seen, Fault> {
        let source = self.get(name).expect("the file in question exists");
        let size = Some(source.size()).filter(|_| !endless);
        let mut files = vec![File { name: Some(name.into()), media_type: None, size }];
        let mut windows = vec![Window { file: 0, offset: 0, bytes: source.read(0, HEAD_BYTES) }];
        let mut bytes = windows[0].bytes.len() as u64;
        for rounds in 0..=MAX_ROUNDS {
            let options = DetectOptions { start_ms: None, extra: Vec::new() };
            let asked = || files.iter().filter_map(|file| file.name.clone()).collect();
            let needs = match answer::<Archive>(files.clone(), windows.clone(), options).map_err(Fault::Said)? {
                Answer::Found(layout) => return Ok(Seen { layout: Some(layout), rounds, bytes, asked: asked() }),
                Answer::Unknown => return Ok(Seen { layout: None, rounds, bytes, asked: asked() }),
                Answer::Need(needs) => needs,
            };
            if needs.ranges.is_empty() && needs.siblings.is_empty() {
                return Err(Fault::Broke("it asked for nothing".into()));
            }
            for range in &needs.ranges {
                let Some(file) = files.get(range.file as usize) else {
                    return Err(Fault::Broke(format!("it asked for {range:?} of {} files", files.len())));
                };
                if range.length == 0 || file.size.is_some_and(|size| range.offset >= size) {
                    return Err(Fault::Broke(format!("it asked for {range:?} of {:?}", file.size)));
                }
                let source = file.name.as_deref().and_then(|name| self.get(name)).expect("it has a size");
                let read = source.read(range.offset, range.length.min(MAX_WINDOW_BYTES));
                bytes += read.len() as u64;
                windows.push(Window { file: range.file, offset: range.offset, bytes: read });
            }
            for name in needs.siblings {
                let size = self.get(&name).map(|source| source.size());
                files.push(File { name: Some(name), media_type: None, size });
            }
            if bytes > MAX_WINDOW_BYTES || files.len() > MAX_SIBLINGS + 1 {
                return Err(Fault::Broke(format!("it asked for {bytes} bytes in all, of {} files", files.len())));
            }
        }
        Err(Fault::Broke(format!("it asked more than {MAX_ROUNDS} times")))
    }

    /// The layout of a file that is an archive, checked.
    pub fn layout(&self, name: &str) -> Layout {
        self.seen(name).layout.unwrap_or_else(|| panic!("{name} is unknown"))
    }

    pub fn seen(&self, name: &str) -> Seen {
        let seen = self.look(name, false).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        self.check(&seen);
        seen
    }

    /// The code and the words of the failure.
    pub fn failure(&self, name: &str) -> String {
        match self.look(name, false) {
            Err(Fault::Said(error)) => format!("{}: {}", error.code, error.message),
            Err(Fault::Broke(rule)) => panic!("{name}: {rule}"),
            Ok(seen) => panic!("{name}: {:?}", seen.layout),
        }
    }

    /// What every layout keeps to.
    pub fn check(&self, seen: &Seen) {
        let Some(layout) = &seen.layout else { return };
        let ids: BTreeSet<&str> = layout.titles.iter().map(|title| title.id.as_str()).collect();
        assert_eq!(ids.len(), layout.titles.len(), "ids are not unique: {ids:?}");
        assert!(layout.titles.len() <= 512 && ids.iter().all(|id| !id.is_empty() && id.len() <= 1024));
        let main = layout.titles.iter().filter(|title| title.main).count();
        assert_eq!(main, usize::from(!layout.titles.is_empty()));
        for extent in layout.titles.iter().flat_map(|title| &title.extents) {
            let ExtentOrigin::File((file, offset)) = extent.origin else { panic!("zeros") };
            let size = self.get(&seen.asked[file as usize]).expect("extents are in files that exist").size();
            let inside = offset.checked_add(extent.length).is_some_and(|end| end <= size);
            assert!(extent.length > 0 && inside, "{extent:?} of {size}");
        }
    }

    /// The bytes of a title.
    pub fn content(&self, seen: &Seen, title: &Title) -> Vec<u8> {
        let mut content = Vec::new();
        for extent in &title.extents {
            let ExtentOrigin::File((file, offset)) = extent.origin else { panic!("zeros") };
            let source = self.get(&seen.asked[file as usize]).expect("extents are in files that exist");
            content.extend(source.read(offset, extent.length));
        }
        content
    }

    /// Asserts that the titles are these members, in this order, that the first of `expected` that is named `main` is
    /// the main one, and that the extents give their bytes.
    pub fn expect(&self, name: &str, format: &str, main: &str, expected: &[(&str, Vec<u8>)]) -> Seen {
        let seen = self.seen(name);
        let layout = seen.layout.as_ref().unwrap_or_else(|| panic!("{name} is unknown"));
        let ids: Vec<&str> = layout.titles.iter().map(|title| title.id.as_str()).collect();
        let wanted: Vec<&str> = expected.iter().map(|(id, _)| *id).collect();
        assert_eq!((layout.format.as_str(), ids), (format, wanted), "{name}");
        for (title, (id, bytes)) in layout.titles.iter().zip(expected) {
            assert!(self.content(&seen, title) == *bytes, "{name}: the bytes of {id} are others");
            assert_eq!(title.main, *id == main, "{name}: {id}");
        }
        seen
    }
}

/// Bytes that are the same for a seed and nowhere alike.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| byte()).collect()
}
