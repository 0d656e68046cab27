//! Results on disk: one JSONL per lens with every rating, and `summary.csv` with a row per dataset and lens; the folder
//! of the rows that a filter keeps, the scores it judged by, and the rows that have none.

pub mod card;
mod error;
pub mod folder;
pub mod jsonl;
pub mod lock;
pub mod scores;
pub mod shards;
pub mod summary_csv;
pub mod unrated;

pub use error::Error;

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The folder of a dataset's results within `data_dir`: its name with `/` as `_`, so that no name leads elsewhere.
pub fn folder(data_dir: &Path, dataset: &str) -> PathBuf {
    let mut name: String = dataset
        .chars()
        .map(|c| if matches!(c, '/' | '\\' | ':') || c.is_control() { '_' } else { c })
        .collect();
    // A name that begins with a dot would be hidden, or be the folder above.
    if name.starts_with('.') || name.is_empty() {
        name.insert(0, '_');
    }
    // File systems take 255 bytes; a digest keeps long names apart.
    if name.len() > 200 {
        let mut end = 180;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let digest = Sha256::digest(dataset.as_bytes());
        name =
            format!("{}-{:02x}{:02x}{:02x}{:02x}", &name[..end], digest[0], digest[1], digest[2], digest[3]);
    }
    data_dir.join(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slashes_become_underscores() {
        assert_eq!(folder(Path::new("data"), "vikp/textbooks"), Path::new("data/vikp_textbooks"));
        assert_eq!(folder(Path::new("data"), ".."), Path::new("data/_.."));
        assert_eq!(folder(Path::new("data"), "./x.jsonl"), Path::new("data/_._x.jsonl"));
    }

    proptest! {
        #[test]
        fn no_name_leads_out_of_the_folder(name in "(\\.\\.|/|\\\\|[a-z]|\\PC|\\n){0,300}") {
            let folder = folder(Path::new("data"), &name);
            prop_assert_eq!(folder.parent(), Some(Path::new("data")));
            prop_assert_eq!(folder.components().count(), 2);
            prop_assert!(folder.file_name().unwrap().len() <= 255);
        }
    }
}
