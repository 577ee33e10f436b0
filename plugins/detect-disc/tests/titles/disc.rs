//! A disc of the tests: files at places of an image, without a file system around them.

use detect_disc::titles;
use detect_disc::tree::{Extent, File, Tree};
use mediahost_plugin_sdk::detect::testing::{Fault, Seen, Source, Sparse, check_layout, look};
use mediahost_plugin_sdk::detect::{Detector, ExtentOrigin, Layout, Stop, Subject, Title};
use std::cell::RefCell;
use std::path::Path;

const SECTOR: u64 = 2048;
/// Where the first file is; a file system would stand in front of it.
const START: u64 = 300 * SECTOR;

#[derive(Clone)]
pub struct Disc {
    pub tree: Tree,
    pub pieces: Vec<(u64, Vec<u8>)>,
    /// Where the next file goes.
    pub at: u64,
    /// Where the image ends, if it is cut short.
    pub end: Option<u64>,
}

impl Default for Disc {
    fn default() -> Disc {
        let tree = Tree { label: "LABEL".into(), file_system: "udf", ..Tree::default() };
        Disc { tree, pieces: Vec::new(), at: START, end: None }
    }
}

impl Disc {
    /// A file behind all others; returns where it is.
    pub fn put(&mut self, path: &str, bytes: Vec<u8>) -> u64 {
        let (offset, length) = (self.at, bytes.len() as u64);
        self.at += length.next_multiple_of(SECTOR);
        self.add(path, &[(Some(offset), length)]);
        self.pieces.push((offset, bytes));
        offset
    }

    /// A file of zeros; returns where it is.
    pub fn claim(&mut self, path: &str, length: u64) -> u64 {
        let offset = self.at;
        self.at += length.next_multiple_of(SECTOR);
        self.add(path, &[(Some(offset), length)]);
        offset
    }

    pub fn add(&mut self, path: &str, extents: &[(Option<u64>, u64)]) {
        let extents = extents.iter().filter(|(_, length)| *length > 0);
        let extents = extents.map(|(offset, length)| Extent { offset: *offset, length: *length }).collect();
        self.tree.files.push(File { path: path.into(), extents });
    }

    pub fn remove(&mut self, path: &str) {
        self.tree.files.retain(|file| file.path != path);
    }

    /// Breaks a file of the disc.
    pub fn spoil(&mut self, path: &str) {
        let offset = self.tree.find(path).and_then(|file| file.extents.first()?.offset).unwrap();
        self.pieces.iter_mut().find(|piece| piece.0 == offset).unwrap().1[..4].fill(0);
    }

    pub fn cut(&mut self, end: u64) {
        (self.end, self.tree.is_cut) = (Some(end), true);
    }

    pub fn image(&self) -> Sparse {
        Sparse { size: self.end.unwrap_or(self.at), pieces: self.pieces.clone() }
    }

    /// Looks at the disc as the host does.
    pub fn look(&self) -> Result<Seen, Fault> {
        TREE.with_borrow_mut(|tree| tree.clone_from(&self.tree));
        look::<OnTree>(&self.image())
    }

    pub fn layout(&self) -> Layout {
        let seen = self.look().unwrap();
        assert!(seen.rounds <= 8, "{} rounds", seen.rounds);
        let layout = seen.layout.unwrap();
        check(&layout, self.image().size);
        layout
    }

    /// What the look is refused with.
    pub fn refusal(&self) -> String {
        match self.look() {
            Err(Fault::Said(error)) => format!("{}: {}", error.code, error.message),
            other => panic!("{other:?}"),
        }
    }

    /// Copies the files to a folder, for other programs.
    pub fn write_to(&self, folder: &Path) {
        let image = self.image();
        for file in &self.tree.files {
            let path = folder.join(&file.path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let runs = file.extents.iter();
            let bytes: Vec<u8> = runs.flat_map(|run| image.read(run.offset.unwrap(), run.length)).collect();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

/// What every answer keeps to.
pub fn check(layout: &Layout, size: u64) {
    check_layout(layout, size);
    assert!(layout.titles.len() <= titles::MAX_TITLES);
    assert!(layout.titles.iter().filter(|title| title.main).count() <= 1);
    let mut ids: Vec<&str> = layout.titles.iter().map(|title| title.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), layout.titles.len(), "titles share an id");
    for title in &layout.titles {
        assert!((1..=titles::MAX_EXTENTS).contains(&title.extents.len()), "{}", title.id);
        for extent in &title.extents {
            assert!(extent.length > 0, "{}", title.id);
            if let ExtentOrigin::File((file, offset)) = extent.origin {
                let end = offset.checked_add(extent.length);
                assert!(file == 0 && end.is_some_and(|end| end <= size), "{}: {extent:?} of {size}", title.id);
            }
        }
    }
}

/// The ids of titles, the main one with a star.
pub fn ids(layout: &Layout) -> String {
    let id = |title: &Title| if title.main { format!("*{}", title.id) } else { title.id.clone() };
    layout.titles.iter().map(id).collect::<Vec<_>>().join(" ")
}

/// Where the bytes of a title are: offsets and lengths.
pub fn extents(layout: &Layout, id: &str) -> Vec<(u64, u64)> {
    let title = layout.titles.iter().find(|title| title.id == id).unwrap_or_else(|| panic!("no {id}"));
    let place = |origin: &ExtentOrigin| match origin {
        ExtentOrigin::File((_, offset)) => *offset,
        ExtentOrigin::Zeros => u64::MAX,
    };
    title.extents.iter().map(|extent| (place(&extent.origin), extent.length)).collect()
}

thread_local! {
    /// A detector has no place for what a test knows.
    static TREE: RefCell<Tree> = RefCell::default();
}

struct OnTree;

impl Detector for OnTree {
    fn detect(subject: &Subject) -> Result<Option<Layout>, Stop> {
        TREE.with_borrow(|tree| titles::layout(subject, tree)).map(Some)
    }
}
