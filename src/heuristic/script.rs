//! Which script the letters are of.

use super::NotMeasurable;

/// Counts of letters by script.
#[derive(Default)]
pub(super) struct Scripts {
    latin: usize,
    others: Vec<(&'static str, usize)>,
}

impl Scripts {
    /// Counts a letter.
    pub(super) fn add(&mut self, letter: char) {
        let name = match u32::from(letter) {
            // Up to Latin Extended-B and IPA; Latin Extended Additional; full-width forms are read as Latin too.
            0..=0x02AF | 0x1E00..=0x1EFF | 0xFF21..=0xFF5A => return self.latin += 1,
            0x0370..=0x03FF => "Greek",
            0x0400..=0x052F => "Cyrillic",
            0x0530..=0x058F => "Armenian",
            0x0590..=0x05FF => "Hebrew",
            0x0600..=0x077F => "Arabic",
            0x0900..=0x0DFF => "Indic",
            0x0E00..=0x0E7F => "Thai",
            0x10A0..=0x10FF => "Georgian",
            0x1200..=0x139F => "Ethiopic",
            0x3040..=0x30FF => "Japanese kana",
            0x3400..=0x9FFF | 0x20000..=0x3FFFF => "Han",
            0xAC00..=0xD7AF => "Hangul",
            _ => "of other scripts",
        };
        match self.others.iter_mut().find(|(other, _)| *other == name) {
            Some((_, letters)) => *letters += 1,
            None => self.others.push((name, 1)),
        }
    }

    /// Counts ASCII letters.
    pub(super) fn add_latin(&mut self, letters: usize) {
        self.latin += letters;
    }

    /// All letters counted.
    pub(super) fn letters(&self) -> usize {
        self.latin + self.others.iter().map(|(_, letters)| letters).sum::<usize>()
    }

    /// An error where fewer than half of the letters are Latin; a text without letters is no error.
    pub(super) fn measurable(&self) -> Result<(), NotMeasurable> {
        match self.others.iter().max_by_key(|(_, letters)| *letters) {
            Some((script, _)) if self.latin * 2 < self.letters() => Err(NotMeasurable { script }),
            _ => Ok(()),
        }
    }
}
