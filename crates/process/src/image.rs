//! Functions that are container images: what of an unpacked image a start needs to know.
//!
//! The image's folder is a stranger's. Nothing here follows a link in it: on the host it would lead somewhere else than
//! in the sandbox.

use std::path::{Path, PathBuf};

use updraft_executor::Rejected;
use updraft_types::{Fault, Function, image::Program};

use crate::environment::LAYERS_ROOT;

/// What is said of an image with nothing to execute.
const NOTHING: &str = "the image names no program: it has neither an ENTRYPOINT nor a CMD, and the function's ImageConfig \
                       brings none";

/// Whether there is something to execute.
pub(crate) fn check(function: &Function) -> Result<(), Rejected> {
    if words_of(function).is_empty() { Err(Rejected(NOTHING.into())) } else { Ok(()) }
}

/// The command of a start.
pub(crate) fn words(function: &Function) -> Result<Vec<String>, Fault> {
    let words = words_of(function);
    if words.is_empty() { Err(Fault::Entrypoint { reason: NOTHING.into() }) } else { Ok(words) }
}

fn words_of(function: &Function) -> Vec<String> {
    let program = function.code.image.as_ref().map(|image| &image.program);
    program.map(|program: &Program| program.words(&function.configuration.image)).unwrap_or_default()
}

/// The image's own `/opt`, in whose `extensions` programs run beside the runtime. None where a link is on the way.
pub(crate) fn layers(root: &Path) -> Option<PathBuf> {
    let layers = root.join(LAYERS_ROOT.trim_start_matches('/'));
    let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
    (is_folder(&layers) && is_folder(&layers.join("extensions"))).then_some(layers)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::testing;

    #[test]
    fn an_image_says_what_to_execute_or_is_refused() {
        let mut function = testing::image(&["/entry"], &[]);
        assert_eq!(words(&function).unwrap(), ["/entry"]);
        assert!(check(&function).is_ok());
        function.code.image.as_mut().unwrap().program = Program::default();
        assert!(check(&function).is_err() && words(&function).is_err());
        function.configuration.image.command = vec!["/other".into()];
        assert_eq!(words(&function).unwrap(), ["/other"]);
    }

    #[test]
    fn extensions_are_looked_for_in_the_image_and_not_where_its_links_lead() {
        let (image, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(host.path().join("extensions")).unwrap();
        assert_eq!(layers(image.path()), None);
        symlink(host.path(), image.path().join("opt")).unwrap();
        assert_eq!(layers(image.path()), None);
        fs::remove_file(image.path().join("opt")).unwrap();
        fs::create_dir(image.path().join("opt")).unwrap();
        symlink(host.path().join("extensions"), image.path().join("opt/extensions")).unwrap();
        assert_eq!(layers(image.path()), None);
        fs::remove_file(image.path().join("opt/extensions")).unwrap();
        fs::create_dir(image.path().join("opt/extensions")).unwrap();
        assert_eq!(layers(image.path()), Some(image.path().join("opt")));
    }
}
