//! RAR archives, of one file or of a set of volumes.
//!
//! Owns: which volumes there are, what of a member is in which of them.
//! Leaves to others: how headers are written ([`four`], [`five`]), how volumes are called ([`names`]).
//!
//! Invariant: the parts of a member follow each other from volume to volume and give its length.

mod five;
mod four;
mod names;

use mediahost_plugin_sdk::detect::{Extent, Layout, Stop, Subject};

use crate::member::{Hindrance, Member, choose, lay_out};
use crate::walk::Walk;
use crate::{MAX_MEMBERS, ROUNDS};
use names::Scheme;

/// Files beside the first that the host opens, at most.
const MAX_SIBLINGS: usize = 256;
/// What walks through all siblings together may ask for, in pieces of 8 KiB.
const MAX_SIBLING_READS: u32 = 2048;
/// A header is longer than this only if it is damaged.
const MAX_HEADER: u64 = 256 * 1024;

/// The two formats in use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// From RAR 1.5 to 4.
    Four,
    /// Since RAR 5.
    Five,
}

impl Version {
    /// What the first bytes say.
    pub fn of(bytes: &[u8]) -> Option<Version> {
        let all = [(Version::Four, four::SIGNATURE), (Version::Five, five::SIGNATURE)];
        all.into_iter().find(|(_, signature)| bytes.starts_with(signature)).map(|(version, _)| version)
    }

    fn signature(self) -> &'static [u8] {
        match self {
            Version::Four => four::SIGNATURE,
            Version::Five => five::SIGNATURE,
        }
    }

    fn header(self, walk: &mut Walk, at: u64, skipped: u64) -> Result<Found, Stop> {
        match self {
            Version::Four => four::header(walk, at, skipped),
            Version::Five => five::header(walk, at, skipped),
        }
    }
}

/// What was found where a header should be.
enum Found {
    Header(Header),
    /// The file ends.
    Nothing,
    /// There are no rounds left to look.
    TooFar,
    Damaged,
}

/// A header of either format, what matters of it.
struct Header {
    what: What,
    /// Of the header itself, at least 1.
    length: u64,
    /// Of the data behind it.
    data: u64,
}

enum What {
    Archive(About),
    File(Part),
    /// The last header; whether there is another volume.
    End(bool),
    /// The headers behind it are encrypted.
    Locked,
    Other,
}

/// What a volume says of itself.
#[derive(Clone, Copy, Default)]
struct About {
    in_set: bool,
    /// Counted from 0, when it says so.
    number: Option<u64>,
    /// It says, or has to say and does not, that it is the first of its set.
    first: Option<bool>,
}

/// A member, or what of it is in one volume.
struct Part {
    path: String,
    /// Of the whole member, once it is out.
    size: Option<u64>,
    from_previous: bool,
    into_next: bool,
    /// A folder or a link.
    bodiless: bool,
    hindrance: Option<Hindrance>,
    /// Where its data are.
    offset: u64,
    length: u64,
}

/// The names of methods, the same in both formats.
fn method(number: u64) -> Option<Hindrance> {
    let name = match number {
        0 => return None,
        1 => "RAR, fastest",
        2 => "RAR, fast",
        3 => "RAR, normal",
        4 => "RAR, good",
        5 => "RAR, best",
        _ => "RAR",
    };
    Some(Hindrance::Compressed(name.into()))
}

/// What there is to play.
pub fn detect(subject: &Subject, version: Version) -> Result<Layout, Stop> {
    let set = Set::read(subject, version)?;
    let (members, whole) = set.members()?;
    Ok(lay_out("rar", "application/vnd.rar", choose(members, whole)?))
}

/// A volume, as far as it was looked at.
struct Volume {
    about: About,
    parts: Vec<Part>,
    /// Another one follows.
    more: bool,
    /// There were no rounds left to see all of it.
    cut: bool,
}

impl Volume {
    /// Goes through the headers. What goes on in the next volume is the last in its own, so that nothing behind it has
    /// to be read. `left` is how many headers may still be looked at.
    fn read(walk: &mut Walk, version: Version, left: &mut usize, name: &str) -> Result<Volume, Stop> {
        let mut volume = Volume { about: About::default(), parts: Vec::new(), more: false, cut: false };
        let signature = version.signature();
        let start = walk.see(0, signature.len() as u64, 0)?;
        if start.is_some_and(|start| *start != *signature) {
            return Err(Stop::damaged(format!("{name} is not a volume of this set")));
        }
        let (mut at, mut skipped) = (signature.len() as u64, 0);
        loop {
            let header = match version.header(walk, at, skipped)? {
                Found::Header(header) if *left > 0 => header,
                Found::Header(_) | Found::TooFar => {
                    volume.cut = true;
                    return Ok(volume);
                }
                Found::Nothing => return Ok(volume),
                Found::Damaged => return Err(Stop::damaged(format!("the header at offset {at} of {name} is damaged"))),
            };
            *left -= 1;
            let data = at.saturating_add(header.length);
            let Some(end) = data.checked_add(header.data).filter(|end| walk.size().is_none_or(|size| *end <= size))
            else {
                return Err(Stop::damaged(format!("{name} ends before the data of its header at offset {at}")));
            };
            match header.what {
                What::Archive(about) => volume.about = about,
                What::Locked => return Err(Stop::encrypted("the archive is encrypted, even the names in it")),
                What::End(more) => {
                    volume.more = more;
                    return Ok(volume);
                }
                What::File(part) => {
                    volume.more = part.into_next;
                    volume.parts.push(Part { offset: data, length: header.data, ..part });
                    if volume.more {
                        return Ok(volume);
                    }
                }
                What::Other => {}
            }
            (at, skipped) = (end, end - at);
        }
    }

    fn is_last(&self) -> bool {
        !self.more || self.cut
    }
}

/// The volumes that are there, in order; the first is the file in question.
struct Set {
    volumes: Vec<Volume>,
    names: Vec<String>,
    /// The volume that should follow them and does not exist.
    missing: Option<String>,
}

impl Set {
    fn read(subject: &Subject, version: Version) -> Result<Set, Stop> {
        let (mut rounds, mut left) = (ROUNDS, MAX_MEMBERS);
        let mut walk = Walk::new(subject, 0, rounds);
        let name = subject.name().unwrap_or("the archive");
        let first = Volume::read(&mut walk, version, &mut left, name)?;
        rounds -= walk.hops();
        let scheme = subject.name().and_then(Scheme::of);
        refuse_later_volume(&first, scheme.as_ref())?;
        let mut set = Set { volumes: vec![first], names: Vec::new(), missing: None };
        let mut least = 1;
        // A round for the names, and one at least for what they name.
        while set.missing.is_none() && !set.volumes.last().is_none_or(Volume::is_last) && rounds >= 2 {
            let Some(scheme) = &scheme else {
                set.missing = Some("another volume".into());
                break;
            };
            let known = set.names.len();
            let batch = set.expected().max(least).min(MAX_SIBLINGS - known);
            // The first guess is usually right, and a file that does not exist costs a request, too. Where one member
            // after the other goes on into further volumes there would be too many rounds.
            least = (least * 2).max(4);
            let names = (known + 1..=known + batch).map_while(|number| scheme.name(number));
            set.names.extend(names);
            if set.names.len() == known {
                break;
            }
            subject.sibling(&set.names.iter().map(String::as_str).collect::<Vec<_>>())?;
            let hops = set.read_siblings(subject, version, known, rounds - 1, &mut left)?;
            rounds = rounds.saturating_sub(1 + hops);
        }
        Ok(set)
    }

    /// Reads the volumes behind the `known` ones, all at once, and tells how often each had to ask, at most.
    fn read_siblings(
        &mut self,
        subject: &Subject,
        version: Version,
        known: usize,
        rounds: u32,
        left: &mut usize,
    ) -> Result<u32, Stop> {
        let files = known + 1..self.names.len() + 1;
        let present = files.clone().take_while(|file| subject.file_size(*file as u32).is_some()).count();
        let most = (MAX_SIBLING_READS / self.names.len().max(1) as u32).clamp(1, rounds);
        let (mut ranges, mut hops, mut last) = (Vec::new(), 0, false);
        let mut failure = None;
        for file in files.take(present) {
            let mut walk = Walk::new(subject, file as u32, most);
            let volume = Volume::read(&mut walk, version, left, &self.names[file - 1]);
            hops = hops.max(walk.hops());
            match volume {
                Ok(volume) => {
                    last = volume.is_last();
                    self.volumes.push(volume);
                }
                Err(Stop::Need(needs)) => ranges.extend(needs.ranges),
                Err(Stop::Failed(error)) => failure = Some(Stop::Failed(error)),
            }
            // What lies behind the last volume is no concern of this set.
            if last || failure.is_some() {
                break;
            }
        }
        subject.want_all(ranges)?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        if !last {
            self.missing = self.names.get(known + present).cloned();
        }
        Ok(hops)
    }

    /// How many volumes follow at least: enough for the member that goes on, if it tells.
    fn expected(&self) -> usize {
        let (mut have, mut room) = (0u64, 1);
        for volume in &self.volumes {
            let mut filled = 0u64;
            for part in &volume.parts {
                have = if part.from_previous { have.saturating_add(part.length) } else { part.length };
                filled = filled.saturating_add(part.length);
            }
            room = room.max(filled);
        }
        let goes_on = self.volumes.last().and_then(|volume| volume.parts.last()).filter(|part| part.into_next);
        let size = goes_on.filter(|part| part.hindrance.is_none()).and_then(|part| part.size);
        let rest = size.map(|size| size.saturating_sub(have).div_ceil(room));
        let expected = rest.and_then(|rest| usize::try_from(rest).ok()).unwrap_or(1);
        expected.clamp(1, MAX_SIBLINGS)
    }

    fn name(&self, volume: usize) -> &str {
        volume.checked_sub(1).and_then(|at| self.names.get(at)).map_or("the first volume", String::as_str)
    }

    /// Joins the parts; tells whether these are all members.
    fn members(&self) -> Result<(Vec<Member>, bool), Stop> {
        let (mut members, mut open): (Vec<Member>, Option<(Member, Option<u64>)>) = (Vec::new(), None);
        for (file, volume) in self.volumes.iter().enumerate() {
            if volume.about.number.is_some_and(|number| number != file as u64) {
                return Err(Stop::damaged(format!("{} has the number of another volume", self.name(file))));
            }
            for part in &volume.parts {
                let member = match open.take() {
                    Some((member, _)) if part.from_previous && member.path == part.path => member,
                    None if !part.from_previous => part.begin(),
                    _ => {
                        let name = self.name(file);
                        return Err(Stop::damaged(format!("{name} does not go on where the volume before it ends")));
                    }
                };
                let member = part.extend(member, file as u32);
                match part.into_next {
                    true => open = Some((member, part.size)),
                    false if part.bodiless => {}
                    false => members.push(part.close(member)?),
                }
            }
        }
        let whole = !self.volumes.last().is_none_or(|volume| volume.more || volume.cut);
        if let Some((member, size)) = open {
            let hindrance = match (&self.missing, member.hindrance) {
                (_, Some(hindrance)) => hindrance,
                (Some(volume), None) => Hindrance::Continues(volume.clone()),
                (None, None) => Hindrance::Unseen,
            };
            members.push(Member { size: size.unwrap_or(member.size), hindrance: Some(hindrance), ..member });
        }
        Ok((members, whole))
    }
}

impl Part {
    fn begin(&self) -> Member {
        Member { path: self.path.clone(), size: 0, extents: Vec::new(), hindrance: self.hindrance.clone() }
    }

    fn extend(&self, mut member: Member, file: u32) -> Member {
        member.size = member.size.saturating_add(self.length);
        member.hindrance = member.hindrance.or_else(|| self.hindrance.clone());
        if self.length > 0 {
            member.extents.push(Extent::of_file(file, self.offset, self.length));
        }
        member
    }

    /// With its last part a stored member has the length that it should have.
    fn close(&self, member: Member) -> Result<Member, Stop> {
        match self.size {
            Some(size) if member.hindrance.is_none() && size != member.size => Err(Stop::damaged(format!(
                "a stored member should have {size} bytes, and its parts have {}",
                member.size
            ))),
            size => Ok(Member { size: size.unwrap_or(member.size), ..member }),
        }
    }
}

/// What begins in the middle of a set is not played: it says where to begin.
fn refuse_later_volume(volume: &Volume, scheme: Option<&Scheme>) -> Result<(), Stop> {
    let continued = volume.parts.first().is_some_and(|part| part.from_previous);
    let named = scheme.map_or(0, Scheme::number);
    let later = match (volume.about.number, volume.about.first) {
        _ if continued => true,
        _ if !volume.about.in_set => false,
        (Some(number), _) => number > 0,
        (None, Some(first)) => !first,
        // Before RAR 3 nothing but the name tells.
        (None, None) => named > 0,
    };
    if !later {
        return Ok(());
    }
    let number = volume.about.number.filter(|number| *number > 0).unwrap_or(named as u64);
    let which = if number > 0 { format!("volume {}", number.saturating_add(1)) } else { "a later volume".into() };
    let first = scheme.map_or(String::new(), |scheme| format!(", {}", scheme.first()));
    Err(Stop::unsupported(format!("this is {which} of a set: open the first{first}")))
}
