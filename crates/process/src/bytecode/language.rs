//! What differs between the languages that are compiled ahead: which files are modules, where their runtime looks for
//! compiled ones, and what compiles them.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use updraft_types::Runtime;

use crate::environment::RUNTIME_ROOT;

/// The longest name of a file.
const NAME_BYTES_MAX: usize = 255;

/// A language with a compiler (`bootstrap/compile.*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// Python itself looks for compiled modules, in a folder beside each.
    Python,
    /// `bootstrap/compiled.cjs` looks for them, in one folder at the root: modules are often found by listing a folder.
    Nodejs,
}

impl Language {
    pub(super) fn of(runtime: Runtime) -> Option<Self> {
        match runtime {
            Runtime::Python { .. } => Some(Self::Python),
            Runtime::Nodejs { .. } => Some(Self::Nodejs),
            Runtime::Provided { .. } | Runtime::Web | Runtime::Wasm | Runtime::Image => None,
        }
    }

    /// Packages with less in their modules, bytes, are left alone: looking for what was compiled takes as long as compiling.
    pub(super) fn bytes_min(self) -> u64 {
        match self {
            Self::Python => 0,
            Self::Nodejs => 64 << 10,
        }
    }

    /// Whether a file is a module that its compiler compiles. A small one of Node.js is compiled as fast as a file is read.
    pub(super) fn is_module(self, path: &Path, bytes: u64) -> bool {
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        match self {
            Self::Python => extension == "py" && bytes <= 2 << 20,
            Self::Nodejs => ["js", "cjs"].contains(&extension) && (1 << 10..=16 << 20).contains(&bytes),
        }
    }

    /// How folders are called that hold compiled modules.
    pub(super) fn folder(self, tag: &str) -> String {
        match self {
            Self::Python => "__pycache__".to_owned(),
            Self::Nodejs => format!(".updraft-{tag}"),
        }
    }

    /// Where the compiled file of a module belongs, both from the root; nowhere, if it cannot be named.
    pub(super) fn place(self, module: &Path, tag: &str) -> Option<PathBuf> {
        let (parent, name) = match self {
            Self::Python => (module.parent()?, format!("{}.{tag}.pyc", module.file_stem()?.to_str()?)),
            Self::Nodejs => {
                let flat = module.to_str()?.replace('%', "%25").replace('/', "%2F");
                (Path::new(""), format!("{flat}.code"))
            }
        };
        (name.len() <= NAME_BYTES_MAX).then(|| parent.join(self.folder(tag)).join(name))
    }

    /// What compiles the modules below `root`.
    pub(super) fn command(self, interpreter: &Path, root: &str) -> Vec<String> {
        let (arguments, script): (&[&str], _) = match self {
            Self::Python => (&["-I", "-S", "-B"], "compile.py"),
            // A warning would come out between the results.
            Self::Nodejs => (&["--no-warnings", "--max-old-space-size=256"], "compile.cjs"),
        };
        let script = format!("{RUNTIME_ROOT}/{script}");
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        [interpreter.display().to_string()].into_iter().chain(arguments).chain([script, root.to_owned()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_has_its_places() {
        let place = |language: Language, module: &str, tag| {
            language.place(Path::new(module), tag).map(|place| place.display().to_string())
        };
        let cases = [
            (Language::Python, "app.py", "t", "__pycache__/app.t.pyc"),
            (Language::Python, "a/b.py", "t", "a/__pycache__/b.t.pyc"),
            (Language::Nodejs, "app.js", "node-22.1.0", ".updraft-node-22.1.0/app.js.code"),
            (Language::Nodejs, "a/b%2Fc.js", "t", ".updraft-t/a%2Fb%252Fc.js.code"),
        ];
        for (language, module, tag, expected) in cases {
            assert_eq!(place(language, module, tag).as_deref(), Some(expected));
        }
        assert_eq!(place(Language::Nodejs, &"a/".repeat(100), "t"), None);
    }

    #[test]
    fn modules_are_known_by_extension_and_size() {
        let is = |language: Language, path: &str, bytes| language.is_module(Path::new(path), bytes);
        assert!(is(Language::Python, "a.py", 0) && !is(Language::Python, "a.pyc", 9) && !is(Language::Python, "py", 9));
        assert!(is(Language::Nodejs, "a.cjs", 2000) && is(Language::Nodejs, "a.min.js", 2000));
        assert!(!is(Language::Nodejs, "a.mjs", 2000) && !is(Language::Nodejs, "a.js", 20));
    }
}
