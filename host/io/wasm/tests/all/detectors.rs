//! Every bundled detector as a component, shown broken files by a host that keeps its own bounds, and by one that does
//! not tell the truth: no call ends in a fault, and what is said keeps to the contract.
//!
//! Owns: breaking good files, the asking, what every answer keeps to.
//! Leaves to others: the good files ([`seeds`]), whether an answer is right (the tests of each detector), what becomes of
//! playing when one is wrong (`service/proxy`).
//!
//! A seed is a number: the same number always breaks the same file in the same way. `DETECTOR_SEED=n` shows one alone,
//! `PROPTEST_CASES` sets how many there are.

// What writes archives and discs is source of the detectors' own tests: an edge to them would be one to plugins.
#[path = "../../../../../plugins/detect-archive/tests/archives/write.rs"]
#[allow(dead_code, reason = "the tests of the detector use the rest")]
mod archives;
#[path = "../../../../../plugins/detect-disc/tests/titles/write.rs"]
#[allow(dead_code, reason = "the tests of the detector use the rest")]
mod discs;
mod mend;
mod seeds;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use plugin::detect::{
    Answer, ContainerDetector, ExtentOrigin, File, HEAD_BYTES, Layout, Look, MAX_EXTENTS, MAX_FIRST, MAX_ROUNDS,
    MAX_SEEK, MAX_SIBLINGS, MAX_WINDOW_BYTES, Needed, Window,
};
use plugin::{Failure, Fault, Plugins};
use seeds::Sparse;

use crate::{Platform, first_party, read, root};

/// Where somebody says how many: so many broken files for each of these cases.
const PER_CASE: u64 = 20;
/// The interpreter is about as many times slower.
const SLOWER: u64 = if cfg!(feature = "interpreter") { 20 } else { 1 };

/// From so many broken files on, some must not be too broken.
const MEANINGFUL: u64 = 200;
/// Failures that are told before the rest is let be.
const MAX_FAILURES: usize = 5;

/// Ranges that the proxy fetches in one round, at most.
const MAX_RANGES: usize = 4096;
/// Tracks and titles that the host takes, at most.
const MAX_TRACKS: usize = 1024;
const MAX_TITLES: usize = 4096;
/// The longest message of an error.
const MAX_MESSAGE: usize = 4096;
/// The longest file that anybody may speak of.
const LONGEST: u64 = i64::MAX as u64;

/// Every bundled detector, a name that it is asked for, and how many broken files it is shown: one or two seconds each.
macro_rules! each {
    ($($name:ident $id:literal $file:literal $count:literal,)*) => {
        const DETECTORS: &[(&str, &str, u64)] = &[$(($id, $file, $count)),*];
        $(mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn knows_good_files() {
                super::knows_good_files($id).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn answers_of_broken_files_keep_to_the_contract() {
                super::shows_broken_files($id).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn files_at_the_bounds_stay_within_the_limits() {
                super::shows_heavy_files($id).await;
            }
        })*
    };
}

each! {
    mp4 "detect-mp4" "a.mp4" 5_000,
    matroska "detect-matroska" "a.mkv" 3_000,
    mpegts "detect-mpegts" "a.ts" 4_000,
    mpegps "detect-mpegps" "a.mpg" 600,
    avi "detect-avi" "a.avi" 6_000,
    flv "detect-flv" "a.flv" 1_200,
    audio "detect-audio" "a.mp3" 4_000,
    disc "detect-disc" "a.iso" 2_000,
    archive "detect-archive" "a.zip" 6_000,
}

#[test]
fn every_detector_is_shown_broken_files() {
    let folder = std::fs::read_dir(root().join("plugins")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let bundled: BTreeSet<String> = names.filter(|name| name.starts_with("detect-")).collect();
    assert_eq!(bundled, DETECTORS.iter().map(|(id, ..)| id.to_string()).collect());
}

/// A detector behind the real host, alone.
struct Subject {
    detector: Arc<dyn ContainerDetector>,
    _platform: Platform,
}

impl Subject {
    async fn of(id: &str) -> (Subject, u64) {
        let (_, name, count) = DETECTORS.iter().find(|(known, ..)| *known == id).unwrap();
        let platform = Platform::with(&[(&format!("{id}.wasm"), first_party(id))], Vec::new()).await;
        let mut detectors = platform.host.detectors(b"", Some(name));
        assert_eq!(detectors.len(), 1, "{:#?}", platform.host.list());
        (Subject { detector: detectors.remove(0), _platform: platform }, *count)
    }
}

async fn knows_good_files(id: &str) {
    let (subject, _) = Subject::of(id).await;
    for files in seeds::of(id) {
        let name = files[0].0.clone();
        let case = Case { files: named(files), start_ms: Some(3_000), ..Case::default() };
        match subject.look(&case, &mut Random::new(0)).await {
            Ok(Seen::Found(layout)) => {
                assert!(!layout.tracks.is_empty() || !layout.titles.is_empty(), "{name}: {layout:?}")
            }
            other => panic!("{id}, {name}: {other:?}"),
        }
    }
}

async fn shows_heavy_files(id: &str) {
    let (subject, _) = Subject::of(id).await;
    let mut failures = Vec::new();
    for (name, file) in seeds::heavy(id) {
        let mut case = Case { files: vec![(name.into(), file)], ..Case::default() };
        for start_ms in [None, Some(5_000), Some(u64::MAX)] {
            case.start_ms = start_ms;
            if let Err(why) = subject.look(&case, &mut Random::new(0)).await {
                failures.push(format!("{name} from {start_ms:?}: {why}"));
            }
        }
    }
    assert!(failures.is_empty(), "{id}: {failures:#?}");
}

async fn shows_broken_files(id: &str) {
    let (subject, count) = Subject::of(id).await;
    let goods = seeds::of(id);
    let (mut found, mut failures) = (0, Vec::new());
    let seeds = numbers(count);
    for seed in seeds.clone() {
        let mut random = Random::new(seed);
        let case = Case::broken(id, &goods, &mut random);
        match subject.look(&case, &mut random).await {
            Ok(seen) => found += u64::from(matches!(seen, Seen::Found(_))),
            Err(why) => failures.push(format!("seed {seed} ({}): {why}", case.what)),
        }
        if failures.len() == MAX_FAILURES {
            break;
        }
    }
    assert!(failures.is_empty(), "{id}: {failures:#?}");
    let count = seeds.end - seeds.start;
    let is_deep = count < MEANINGFUL || found * 10 > count;
    assert!(is_deep, "{id} knows {found} of {count} broken files: they are too broken to show anything");
}

/// The seeds of this run.
fn numbers(count: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("DETECTOR_SEED") {
        return seed..seed + 1;
    }
    0..number("PROPTEST_CASES").map_or(count, |cases| cases * PER_CASE) / SLOWER
}

/// A look at files: the one in question, and those beside it.
#[derive(Default)]
struct Case {
    files: Vec<(String, Sparse)>,
    told: Told,
    start_ms: Option<u64>,
    /// What was done to the files.
    what: String,
}

/// What the host tells a detector of the file in question.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Told {
    #[default]
    Truth,
    /// Its end is not known.
    NoSize,
    /// Another length than it has.
    Size(u64),
    /// Windows are not where they say.
    Windows,
}

/// What became of a look that kept to the rules.
#[derive(Debug)]
enum Seen {
    Found(Layout),
    Unknown,
    /// The detector gave up on the file.
    Refused,
    /// The host gave up: it had told what does not hold, or it is too slow.
    Endless,
}

impl Case {
    /// A broken copy of one of the good files, seen in one of several ways.
    fn broken(id: &str, goods: &[seeds::Good], random: &mut Random) -> Case {
        let chosen = random.below(goods.len());
        let good = &goods[chosen];
        let hit = random.below(good.len());
        let other = random.pick(goods)[0].1.clone();
        let mut what = format!("{} of {}", good[hit].0, good[0].0);
        let mut files = good.clone();
        for _ in 0..=random.below(6) {
            what += &format!(", {}", damage(&mut files[hit].1, &other, random));
        }
        if random.below(2) == 0 {
            mend::mend(id, &mut files[hit].1);
            what += ", mended";
        }
        if files.len() > 1 && random.below(8) == 0 {
            let lost = 1 + random.below(files.len() - 1);
            what += &format!(", without {}", files.remove(lost).0);
        }
        let start_ms = *random.pick(&[None, None, Some(0), Some(1_000), Some(7_777), Some(1 << 40), Some(u64::MAX)]);
        let mut case = Case { files: named(files), told: Told::Truth, start_ms, what };
        let length = case.files[0].1.length;
        case.told = match random.below(20) {
            0..12 => Told::Truth,
            12..15 => Told::NoSize,
            15 => Told::Size(*random.pick(&[0, 1, length / 2, length + 1, length * 2, LONGEST, u64::MAX])),
            16..18 => Told::Windows,
            _ => {
                // As long as can be, and so it is: the rest is zeros.
                case.files[0].1.length = *random.pick(&[length + (1 << 20), 1 << 40, LONGEST]);
                Told::Truth
            }
        };
        case.what += &format!(", {:?} of {}, from {start_ms:?}", case.told, case.files[0].1.length);
        case
    }

    /// Whether all that the host says holds.
    fn is_true(&self) -> bool {
        matches!(self.told, Told::Truth | Told::NoSize)
    }

    fn get(&self, name: &str) -> Option<&Sparse> {
        self.files.iter().find(|(known, _)| known == name).map(|(_, file)| file)
    }

    /// The length of the file in question, as the detector is told.
    fn size(&self) -> Option<u64> {
        match self.told {
            Told::Truth | Told::Windows => Some(self.files[0].1.length),
            Told::NoSize => None,
            Told::Size(size) => Some(size),
        }
    }
}

impl Sparse {
    fn read(&self, offset: u64, length: u64) -> Bytes {
        let end = offset.saturating_add(length).min(self.length);
        let mut bytes = vec![0; end.saturating_sub(offset) as usize];
        for (at, piece) in &self.pieces {
            let (from, to) = (offset.max(*at), end.min(at + piece.len() as u64));
            if from < to {
                let there = &piece[(from - at) as usize..(to - at) as usize];
                bytes[(from - offset) as usize..(to - offset) as usize].copy_from_slice(there);
            }
        }
        bytes.into()
    }
}

fn named(files: seeds::Good) -> Vec<(String, Sparse)> {
    let sparse = |bytes: Vec<u8>| Sparse { length: bytes.len() as u64, pieces: vec![(0, bytes)] };
    files.into_iter().map(|(name, bytes)| (name, sparse(bytes))).collect()
}

impl Subject {
    /// Rounds as the proxy does them. An error says which rule was broken.
    async fn look(&self, case: &Case, random: &mut Random) -> Result<Seen, String> {
        let (name, file) = &case.files[0];
        let mut look = Look {
            files: vec![File { name: Some(name.clone()), media_type: None, size: case.size() }],
            windows: vec![Window { file: 0, offset: 0, bytes: file.read(0, HEAD_BYTES) }],
            start_ms: case.start_ms,
        };
        for _ in 0..MAX_ROUNDS {
            let mut shown = look.clone();
            if case.told == Told::Windows {
                lie(&mut shown, random);
            }
            let (ranges, siblings) = match self.detector.detect(shown).await {
                Ok(Answer::Unknown) => return Ok(Seen::Unknown),
                Ok(Answer::Found(layout)) => {
                    check_layout(&layout, &look.files, case.is_true())?;
                    return Ok(Seen::Found(*layout));
                }
                Ok(Answer::Need { ranges, siblings }) => (ranges, siblings),
                Err(Failure::Answer { error, .. }) => {
                    let is_known = ["damaged", "unsupported", "encrypted"].contains(&error.code.as_str());
                    let is_told = (1..MAX_MESSAGE).contains(&error.message.len());
                    return if is_known && is_told { Ok(Seen::Refused) } else { Err(format!("{error:?}")) };
                }
                // The interpreter computes less within the same CPU time.
                Err(Failure::Fault { fault: Fault::Cpu { .. }, .. }) if cfg!(feature = "interpreter") => {
                    return Ok(Seen::Endless);
                }
                Err(failure) => return Err(failure.to_string()),
            };
            let asks = !siblings.is_empty();
            look.files.extend(siblings.into_iter().map(|name| {
                let size = case.get(&name).map(|file| file.length);
                File { name: Some(name), media_type: None, size }
            }));
            if let Err(why) = check_needs(&look, case, &ranges, asks) {
                // Whoever is told what does not hold may ask for anything.
                return if case.is_true() { Err(why) } else { Ok(Seen::Endless) };
            }
            let fetched: Vec<Window> = ranges.iter().map(|range| fetch(&look, case, range)).collect();
            look.windows.extend(fetched);
        }
        if case.is_true() { Err(format!("it still wanted more after {MAX_ROUNDS} rounds")) } else { Ok(Seen::Endless) }
    }
}

fn there<'a>(look: &Look, case: &'a Case, file: u32) -> Option<&'a Sparse> {
    if file == 0 {
        return Some(&case.files[0].1);
    }
    look.files.get(file as usize)?.name.as_deref().and_then(|name| case.get(name))
}

fn fetch(look: &Look, case: &Case, range: &Needed) -> Window {
    let bytes = there(look, case, range.file).map(|file| file.read(range.offset, range.length));
    Window { file: range.file, offset: range.offset, bytes: bytes.unwrap_or_default() }
}

/// What the proxy and the contract ask of a need.
fn check_needs(look: &Look, case: &Case, ranges: &[Needed], asks_for_files: bool) -> Result<(), String> {
    let total = |range: &Needed| there(look, case, range.file).map_or(0, |file| file.length);
    let clamp = |range: &Needed| range.length.min(total(range).saturating_sub(range.offset));
    let have: u64 = look.windows.iter().map(|window| window.bytes.len() as u64).sum();
    let all = ranges.iter().map(clamp).fold(have, u64::saturating_add);
    if all > MAX_WINDOW_BYTES || ranges.len() > MAX_RANGES || look.files.len() > MAX_SIBLINGS + 1 {
        return Err(format!("it wants {all} bytes, {} ranges, {} files", ranges.len(), look.files.len()));
    }
    for range in ranges {
        let Some(file) = look.files.get(range.file as usize) else {
            return Err(format!("it wants {range:?} of {} files", look.files.len()));
        };
        if range.length == 0 || file.size.is_some_and(|size| range.offset >= size) {
            return Err(format!("it wants {range:?} of {:?}", file.size));
        }
    }
    let covers = |window: &Window, range: &Needed| {
        let end = window.offset + window.bytes.len() as u64;
        window.file == range.file && window.offset <= range.offset && range.offset + clamp(range) <= end
    };
    let is_shown =
        |range: &Needed| range.offset < total(range) && look.windows.iter().any(|window| covers(window, range));
    if !asks_for_files && ranges.iter().all(is_shown) {
        return Err(format!("it asks for what it was shown: {ranges:?}"));
    }
    Ok(())
}

/// What the host and the contract ask of a layout, whatever the file. Sizes that do not hold bind nobody.
fn check_layout(layout: &Layout, files: &[File], is_true: bool) -> Result<(), String> {
    let counts = [
        (layout.first.len(), MAX_FIRST),
        (layout.seek.len(), MAX_SEEK),
        (layout.tracks.len(), MAX_TRACKS),
        (layout.titles.len(), MAX_TITLES),
    ];
    expect(counts.iter().all(|(found, most)| found <= most), || format!("too much: {counts:?}"))?;
    // Only of the file in question the end may be unknown; one that does not exist has none either.
    let known = |file: u32| Some(files.get(file as usize)?.size.unwrap_or(if file == 0 { u64::MAX } else { 0 }));
    let inside = |file: u32, offset: u64, length: u64| {
        let end = offset.checked_add(length).filter(|_| length > 0);
        end.zip(known(file)).is_some_and(|(end, size)| end <= size || !is_true)
    };
    for range in &layout.first {
        expect(inside(0, range.offset, range.length), || format!("{range:?} of {:?}", files[0].size))?;
    }
    for point in &layout.seek {
        expect(inside(0, point.offset, 1), || format!("{point:?} of {:?}", files[0].size))?;
    }
    for pair in layout.seek.windows(2) {
        expect(pair[0].time_ms < pair[1].time_ms, || format!("seek points out of order: {pair:?}"))?;
    }
    for track in &layout.tracks {
        let is_known = ["video", "audio", "subtitle", "data", "attachment"].contains(&track.kind.as_str());
        expect(is_known && track.frame_rate.is_none_or(|rate| rate > 0.0), || format!("{track:?}"))?;
    }
    let durations = layout.titles.iter().map(|title| title.duration_ms).chain([layout.duration_ms]).flatten();
    // What does not fit comes to be the largest number.
    for ms in durations {
        expect(ms < u64::MAX, || format!("it plays {ms} ms"))?;
    }
    let ids: BTreeSet<&str> = layout.titles.iter().map(|title| title.id.as_str()).collect();
    expect(ids.len() == layout.titles.len(), || format!("titles share an id: {ids:?}"))?;
    expect(layout.titles.iter().filter(|title| title.main).count() <= 1, || "several main titles".into())?;
    for title in &layout.titles {
        let total = title.extents.iter().map(|extent| extent.length).try_fold(0u64, u64::checked_add);
        let is_bounded = (1..=MAX_EXTENTS).contains(&title.extents.len()) && total.is_some();
        expect(is_bounded, || format!("{}: {} extents, {total:?} bytes", title.id, title.extents.len()))?;
        for extent in &title.extents {
            let is_inside = match extent.origin {
                ExtentOrigin::File { file, offset } => inside(file, offset, extent.length),
                ExtentOrigin::Zeros => extent.length > 0,
            };
            expect(is_inside, || format!("{}: {extent:?} of {files:?}", title.id))?;
        }
    }
    Ok(())
}

fn expect(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// Shows windows that are not what they say: elsewhere, twice, of other files, in any order.
fn lie(look: &mut Look, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let chosen = random.below(look.windows.len());
        let mut window = look.windows[chosen].clone();
        match random.below(5) {
            0 => window.offset = window.offset.wrapping_add(1 + random.below(300) as u64),
            1 => window.offset = u64::MAX - random.below(5_000) as u64,
            2 => window.file = *random.pick(&[0, 1, 7, u32::MAX]),
            3 => window.bytes = window.bytes.slice(random.below(window.bytes.len() + 1)..),
            _ => window.bytes = Bytes::new(),
        }
        match random.below(3) {
            0 => look.windows[chosen] = window,
            1 => look.windows.insert(chosen, window),
            _ => look.windows.push(window),
        }
    }
}

/// Numbers of the widths that lengths, counts and offsets have, at their ends and about as long as the file is.
fn value(length: usize, random: &mut Random) -> u64 {
    let ends =
        [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, LONGEST, LONGEST + 1, u64::MAX];
    match random.below(3) {
        0 => (length + random.below(32)).saturating_sub(16) as u64,
        1 => random.below(length + 1) as u64,
        _ => *random.pick(&ends),
    }
}

/// Damages bytes in one way, and says in which. `other` is another good file.
fn damage(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> String {
    let at = place(bytes, random);
    let most = *random.pick(&[4, 16, 64, 1024]);
    let run = 1 + random.below(most);
    let end = (at + run).min(bytes.len());
    let how = random.below(12);
    match how {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.below(256) as u8;
            }
        }
        3 => {
            let fill = *random.pick(&[0, 0xFF, 0x7F, 0x47, b'0']);
            bytes[at..end].fill(fill);
        }
        4 => bytes[at..end].iter_mut().for_each(|byte| *byte = random.below(256) as u8),
        5 => bytes.truncate(at),
        6 | 7 => {
            let value = value(bytes.len(), random);
            let width = *random.pick(&[1, 2, 3, 4, 8]);
            let (big, little) = (value.to_be_bytes(), value.to_le_bytes());
            let field = if random.below(2) == 0 { &big[8 - width..] } else { &little[..width] };
            bytes.iter_mut().skip(at).zip(field).for_each(|(byte, new)| *byte = *new);
        }
        8 => {
            bytes.truncate(at);
            bytes.extend(&other[place(other, random)..]);
        }
        9 => drop(bytes.drain(at..end)),
        10 => {
            let copy = bytes[at..end].to_vec();
            let to = place(bytes, random);
            bytes.splice(to..to, copy);
        }
        _ => {
            let most = *random.pick(&[4, 64, 256]);
            let copy = bytes[at..end].repeat(1 + random.below(most));
            bytes.splice(at..at, copy);
        }
    }
    format!("{how} at {at}+{run}")
}

/// A place within bytes: mostly in the head, mostly where there is something.
fn place(bytes: &[u8], random: &mut Random) -> usize {
    let reach = if random.below(3) == 0 { bytes.len().min(512) } else { bytes.len() };
    let from = random.below(reach);
    let zeros = bytes[from.min(bytes.len())..].iter().take_while(|byte| **byte == 0).count();
    let skipped = if random.below(4) == 0 || from + zeros == bytes.len() { 0 } else { zeros };
    // What stands in front of a number is often zero.
    (from + skipped).saturating_sub(if skipped > 0 { random.below(8) } else { 0 })
}

/// Numbers that are the same for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        let mut random = Random((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        // The first numbers of neighbouring seeds are alike.
        for _ in 0..4 {
            random.below(2);
        }
        random
    }

    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}
