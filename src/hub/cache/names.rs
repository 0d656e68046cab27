//! Other names of a dataset (before it was renamed, in other letter case, without its owner): the Hub has told that they
//! are the same, and without a network nobody else can.

use std::fs;
use std::time::SystemTime;

use super::{Cache, Error, folder, replace};

impl Cache {
    /// Notes that the dataset `repo` is also known as `name`.
    pub(in crate::hub) fn set_name(&self, repo: &str, name: &str) -> Result<(), Error> {
        if repo == name {
            return Ok(());
        }
        let path = self.below(repo, ".classified")?.join("names").join(folder(name)?);
        self.make_known(repo)?;
        if path.is_file() { Ok(()) } else { replace(&path, b"") }
    }

    /// The dataset that was last known as `name` too, if there is one.
    ///
    /// The note lies with the dataset, not under the name: the Python tools would take that for a dataset of its own.
    pub(in crate::hub) fn named(&self, name: &str) -> Option<String> {
        let note = folder(name).ok()?;
        let mut newest: Option<(SystemTime, String)> = None;
        for entry in fs::read_dir(&self.root).ok()?.filter_map(Result::ok) {
            let Ok(own) = entry.file_name().into_string() else { continue };
            let Some(repo) = own.strip_prefix("datasets--") else { continue };
            let note = entry.path().join(".classified").join("names").join(&note);
            let noted = fs::metadata(&note).and_then(|metadata| metadata.modified());
            if let Ok(noted) = noted
                && newest.as_ref().is_none_or(|(time, _)| noted > *time)
            {
                newest = Some((noted, repo.replace("--", "/")));
            }
        }
        newest.map(|(_, repo)| repo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn another_name_leads_to_the_dataset() {
        let folder = TempDir::new().unwrap();
        let cache = Cache::new(folder.path().join("hub"));
        assert_eq!(cache.named("old"), None);
        for name in ["old", "Acme/Set", "acme/set"] {
            cache.set_name("acme/set", name).unwrap();
        }
        assert_eq!(cache.named("old").as_deref(), Some("acme/set"));
        assert_eq!(cache.named("Acme/Set").as_deref(), Some("acme/set"));
        assert_eq!(cache.named("acme/set"), None, "its own name needs no note");
        assert_eq!(cache.named("other"), None);
        assert!(cache.set_name("acme/set", "../x/y").is_err());
        assert_eq!(cache.named("../../x"), None);
    }
}
