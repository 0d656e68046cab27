//! The lenses that are part of the program.

use super::folder::Files;

macro_rules! files {
    ($name:literal) => {
        (
            $name,
            &[
                ("config.json", include_str!(concat!("../../lenses/", $name, "/config.json"))),
                ("functions.json", include_str!(concat!("../../lenses/", $name, "/functions.json"))),
                ("system.jinja", include_str!(concat!("../../lenses/", $name, "/system.jinja"))),
                ("prompt.jinja", include_str!(concat!("../../lenses/", $name, "/prompt.jinja"))),
            ],
        )
    };
}

/// Names and files, sorted by name.
pub(super) const BUILT_IN: [(&str, &Files); 5] = [
    files!("code_quality"),
    files!("instruction_following"),
    files!("learning_value"),
    files!("textbook_depth"),
    files!("textbook_quality"),
];
