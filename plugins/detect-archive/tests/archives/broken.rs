//! Broken copies of good archives: a detector may say anything of them and keeps to the rules.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mediahost_plugin_sdk::detect::testing::{Sparse, mutated};

use crate::host::{Fault, Folder, noise};
use crate::write::{Packed, Zipped, crc32, pax, rar, tar_member, tar_seal, zip};

const MUTATIONS: u64 = 3_000;

fn survives(folder: &Folder, name: &str, endless: bool, what: &str) {
    let outcome = catch_unwind(AssertUnwindSafe(|| match folder.look(name, endless) {
        // Where the end is not known, a layout may believe what the file says of it.
        Ok(seen) if endless => drop(seen),
        Ok(seen) => folder.check(&seen),
        Err(Fault::Said(error)) => {
            let known = ["damaged", "unsupported", "encrypted"].contains(&error.code.as_str());
            assert!(known && !error.message.is_empty() && error.message.len() < 4096, "{error:?}");
        }
        Err(Fault::Broke(rule)) => panic!("{rule}"),
    }));
    if let Err(panic) = outcome {
        eprintln!("{name}: {what}");
        resume_unwind(panic);
    }
}

/// Shows broken copies; `mend` may set the checksums right, so that not all is found out at once.
fn hostile(name: &str, good: &[u8], mend: impl Fn(&mut Vec<u8>)) {
    let lengths = (0..good.len().min(1500)).chain((1500..good.len()).step_by(97));
    for length in lengths {
        let folder = Folder::default().with(name, good[..length].to_vec());
        survives(&folder, name, length % 3 == 0, &format!("cut to {length} bytes"));
    }
    for seed in 0..MUTATIONS {
        let mut bytes = mutated(good, seed);
        mend(&mut bytes);
        let folder = Folder::default().with(name, bytes);
        survives(&folder, name, seed % 5 == 0, &format!("mutated with seed {seed}"));
    }
    let longest = Sparse { size: u64::MAX, pieces: vec![(0, good.to_vec())] };
    survives(&Folder::default().with(name, longest), name, false, "as long as can be");
}

#[test]
fn zips() {
    let members: Vec<Zipped> = (0..12).map(|i| Zipped::new(&format!("{i}.mkv"), &noise(i, 20))).collect();
    hostile("a.zip", &zip(&members, b"", 0, b"comment"), |_| {});
    let wide: Vec<Zipped> = members.into_iter().map(|member| Zipped { wide: true, ..member }).collect();
    hostile("a.zip", &zip(&wide, b"MZ program", 10, b""), |_| {});
}

#[test]
fn tars() {
    let records = [pax("path", "film.mkv"), pax("size", "700"), pax("GNU.sparse.name", "x")].concat();
    let good = [
        tar_member("x", &records[..records.len() - 21], b'x'),
        tar_member("film.mkv", &noise(1, 700), b'0'),
        tar_member("././@LongLink", b"folder/other.mkv\0", b'L'),
        tar_member("other.mkv", &noise(2, 100), b'0'),
        vec![0; 1024],
    ]
    .concat();
    hostile("a.tar", &good, |_| {});
    hostile("a.tar", &good, |bytes| {
        for at in [0, 1024, 1024 + 512 + 1024, 1024 + 512 + 1024 + 1024] {
            if let Some(header) = bytes.get_mut(at..at + 512) {
                tar_seal(header);
            }
        }
    });
}

#[test]
fn rars() {
    for version in [4, 5] {
        let members = [Packed::new("a.mkv", &noise(1, 40)), Packed::new("Film\\b.avi", &noise(2, 50))];
        let good = rar(version, &members, usize::MAX).remove(0);
        hostile("a.rar", &good, |_| {});
        hostile("a.rar", &good, |bytes| mend_rar(version, bytes));
    }
}

/// One broken volume in a set.
#[test]
fn sets() {
    for version in [4, 5] {
        let members = [Packed::new("a.mkv", &noise(1, 900)), Packed::new("b.avi", &noise(2, 50))];
        let volumes = rar(version, &members, 200);
        for seed in 0..MUTATIONS {
            let mut volumes = volumes.clone();
            let broken = seed as usize % volumes.len();
            volumes[broken] = mutated(&volumes[broken], seed);
            mend_rar(version, &mut volumes[broken]);
            let name = |number: usize| format!("a.part{}.rar", number + 1);
            let files: Vec<_> = volumes.into_iter().enumerate().map(|(number, bytes)| (name(number), bytes)).collect();
            survives(&Folder::of(&files), "a.part1.rar", seed % 4 == 0, &format!("mutated with seed {seed}"));
        }
    }
}

/// Walks as a reader would and sets the checksums right.
fn mend_rar(version: u8, bytes: &mut [u8]) {
    let mut at = if version == 4 { 7 } else { 8 };
    for _ in 0..10 {
        let Some(header) = bytes.get(at..).filter(|header| header.len() > 14) else { return };
        let (length, data) = match version {
            4 => {
                let length = usize::from(u16::from_le_bytes([header[5], header[6]])).max(7);
                let data = u32::from_le_bytes([header[7], header[8], header[9], header[10]]) as usize;
                (length, if header[4] & 0x80 != 0 { data } else { 0 })
            }
            // Lengths of one byte; the data's stands behind kind and flags.
            _ => (5 + usize::from(header[4]), if header[6] & 2 != 0 { usize::from(header[7] & 0x7F) } else { 0 }),
        };
        let Some(header) = bytes.get_mut(at..at.saturating_add(length)) else { return };
        match version {
            4 => {
                let sum = crc32(&header[2..]) as u16;
                header[..2].copy_from_slice(&sum.to_le_bytes());
            }
            _ => {
                let sum = crc32(&header[4..]);
                header[..4].copy_from_slice(&sum.to_le_bytes());
            }
        }
        at = at.saturating_add(length).saturating_add(data);
    }
}
