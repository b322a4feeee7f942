//! Reads the Azure Functions trace of 2019 as it is published (AzureFunctionsDataset2019.md, revision 2).
//!
//! Of each day: `invocations_per_function_md.anon.dNN.csv` with calls by the minute, and, where they are there,
//! `function_durations_percentiles.anon.dNN.csv` and `app_memory_percentiles.anon.dNN.csv`, of which the averages
//! are taken. Files are not believed: lines, names, numbers and the number of functions are bounded, and what is
//! wrong is said with its file and line. Memory is measured by application there; here each function takes as much.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use crate::{
    rng::mix,
    trace::{DAY_MS, Profile, Stretch},
};

const MINUTES: usize = 1_440;
const MINUTE_MS: u64 = 60_000;
/// 1,440 counts of ten digits and four names fit.
const LINE_BYTES_MAX: u64 = 32 * 1_024;
/// A hash in hexadecimal has 64.
const NAME_BYTES_MAX: usize = 128;
const FUNCTIONS_MAX: u32 = 4_000_000;
const DAYS_MAX: u32 = 99;
const CALLS_A_MINUTE_MAX: u64 = 100_000_000;
const DURATION_MS_MAX: f64 = 3_600_000.0;
const MEMORY_MB_MAX: f64 = 1_048_576.0;
const PARALLEL_MAX: u32 = 1_000;
/// What is taken where the dataset has nothing: half of the functions run shorter and half of the applications hold
/// less ("Serverless in the Wild", sections 3.4 and 3.5).
const DURATION_MS_UNKNOWN: u32 = 1_000;
const MEMORY_MB_UNKNOWN: u32 = 170;

/// Why a dataset could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no file for the first day.
    #[error("{} has no invocations_per_function_md.anon.d01.csv", folder.display())]
    NothingThere {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A file could not be read.
    #[error("{}: {error}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A line is not what the format says.
    #[error("{}:{line}: {what}", file.display())]
    Line {
        /// In which file.
        file: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// A folder of the dataset's files.
pub struct Dataset {
    folder: PathBuf,
    days: u32,
    functions: HashMap<String, u32>,
    known: Vec<Known>,
}

/// What the dataset says of one function. The first day that has something to say is kept.
#[derive(Debug, Clone, Copy)]
struct Known {
    duration_ms: u32,
    memory_mb: u32,
}

/// One function's calls of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calls {
    /// Its number, in order of appearance in the dataset.
    pub function: u32,
    duration_ms: u32,
    /// Minutes with calls, and how many.
    minutes: Vec<(u16, u32)>,
}

impl Dataset {
    /// Finds the days that are there. They count from 1 and have no gap.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let is_there = |day: &u32| invocations_file(folder, *day).is_file();
        let days = u32::try_from((0..DAYS_MAX).take_while(is_there).count()).unwrap_or(DAYS_MAX);
        match days {
            0 => Err(Error::NothingThere { folder: folder.to_owned() }),
            _ => Ok(Self { folder: folder.to_owned(), days, functions: HashMap::new(), known: Vec::new() }),
        }
    }

    /// How many days there are.
    pub fn days(&self) -> u32 {
        self.days
    }

    /// How many functions the days read so far have.
    pub fn functions(&self) -> u32 {
        u32::try_from(self.known.len()).unwrap_or(u32::MAX)
    }

    /// What never changes about a function.
    pub fn profile(&self, function: u32) -> Profile {
        let known = usize::try_from(function).ok().and_then(|index| self.known.get(index));
        Profile { memory_mb: known.map_or(MEMORY_MB_UNKNOWN, |known| known.memory_mb) }
    }

    /// Reads a day, counted from 0.
    pub fn read(&mut self, day: u32) -> Result<Vec<Calls>, Error> {
        let name = |kind: &str| self.folder.join(format!("{kind}.anon.d{:02}.csv", day + 1));
        let durations = self.averages(&name("function_durations_percentiles"), 3, "Average", DURATION_MS_MAX)?;
        let memory = self.averages(&name("app_memory_percentiles"), 2, "AverageAllocatedMb", MEMORY_MB_MAX)?;
        let mut calls: HashMap<u32, usize> = HashMap::new();
        let mut today: Vec<Calls> = Vec::new();
        let mut lines = Lines::open(&invocations_file(&self.folder, day))?;
        lines.header(&["HashOwner", "HashApp", "HashFunction", "Trigger"], 4 + MINUTES)?;
        while let Some(line) = lines.next()? {
            let mut fields = line.split(',');
            let (key, app) = names(&lines, &mut fields, 3)?;
            fields.next().ok_or_else(|| lines.wrong("has no trigger"))?;
            let minutes = minutes(&lines, fields)?;
            let function = match self.functions.get(&key) {
                Some(function) => *function,
                None if self.functions() == FUNCTIONS_MAX => {
                    return Err(lines.wrong(format!("is one function more than {FUNCTIONS_MAX}")));
                }
                None => {
                    let known = Known {
                        duration_ms: durations.get(&key).copied().unwrap_or(DURATION_MS_UNKNOWN),
                        memory_mb: memory.get(&app).copied().unwrap_or(MEMORY_MB_UNKNOWN).max(1),
                    };
                    self.known.push(known);
                    let function = self.functions() - 1;
                    self.functions.insert(key, function);
                    function
                }
            };
            match calls.get(&function) {
                Some(place) => add(&mut today[*place].minutes, &minutes),
                None => {
                    let duration_ms = self.known[usize::try_from(function).expect("an index")].duration_ms;
                    calls.insert(function, today.len());
                    today.push(Calls { function, duration_ms, minutes });
                }
            }
        }
        Ok(today)
    }

    /// The averages of one of the other files, by its names joined. Empty where there is no such file: the last days
    /// of the published dataset have no memory.
    fn averages(&self, file: &Path, keys: usize, column: &str, most: f64) -> Result<HashMap<String, u32>, Error> {
        if !file.is_file() {
            return Ok(HashMap::new());
        }
        let mut lines = Lines::open(file)?;
        let header = lines.header(&["HashOwner", "HashApp", "HashFunction"][..keys], 0)?;
        let column = header.iter().position(|name| name == column);
        let column = column.ok_or_else(|| lines.wrong("names no column with the average"))?;
        let mut averages = HashMap::new();
        while let Some(line) = lines.next()? {
            let (key, _) = names(&lines, &mut line.split(','), keys)?;
            let text = line.split(',').nth(column).unwrap_or_default();
            let average: f64 = text.parse().map_err(|_| lines.wrong(format!("{:?} is no number", short(text))))?;
            if !average.is_finite() || average < 0.0 {
                return Err(lines.wrong(format!("{:?} is no average", short(text))));
            }
            averages.insert(key, average.min(most) as u32);
            if averages.len() > usize::try_from(FUNCTIONS_MAX).unwrap_or(usize::MAX) {
                return Err(lines.wrong(format!("is one line more than {FUNCTIONS_MAX}")));
            }
        }
        Ok(averages)
    }
}

impl Calls {
    /// The calls as the replay takes them. Within a minute nobody knows when they came: a single one comes at a second
    /// that is always the same for the function, so that what is periodic stays so; more are spread over the minute.
    pub fn stretches(&self, day: u32) -> impl Iterator<Item = Stretch> + '_ {
        let offset_ms = mix(u64::from(self.function)) % MINUTE_MS;
        self.minutes.iter().map(move |(minute, count)| {
            let begin_ms = u64::from(day) * DAY_MS + u64::from(*minute) * MINUTE_MS;
            let duration_ms = u64::from(self.duration_ms);
            match count {
                1 => Stretch::single(begin_ms + offset_ms, duration_ms),
                _ => {
                    let span_ms = MINUTE_MS - MINUTE_MS / u64::from(*count);
                    Stretch::spread(begin_ms, *count, span_ms, duration_ms, PARALLEL_MAX)
                }
            }
        })
    }
}

fn invocations_file(folder: &Path, day: u32) -> PathBuf {
    folder.join(format!("invocations_per_function_md.anon.d{:02}.csv", day + 1))
}

/// The first `count` fields joined, and the first two of them.
fn names<'a>(
    lines: &Lines,
    fields: &mut impl Iterator<Item = &'a str>,
    count: usize,
) -> Result<(String, String), Error> {
    let mut key = String::new();
    let mut app = String::new();
    for index in 0..count {
        let name = fields.next().ok_or_else(|| lines.wrong("has too few fields"))?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(lines.wrong(format!("{:?} is no name: 1 to {NAME_BYTES_MAX} bytes", short(name))));
        }
        key.push_str(name);
        key.push(',');
        if index == 1 {
            app.clone_from(&key);
        }
    }
    Ok((key, app))
}

fn minutes<'a>(lines: &Lines, fields: impl Iterator<Item = &'a str>) -> Result<Vec<(u16, u32)>, Error> {
    let mut minutes = Vec::new();
    let mut seen: usize = 0;
    for text in fields {
        let count: u64 = text.parse().map_err(|_| lines.wrong(format!("{:?} is no number of calls", short(text))))?;
        if count > CALLS_A_MINUTE_MAX {
            return Err(lines.wrong(format!("{count} calls in a minute are more than {CALLS_A_MINUTE_MAX}")));
        }
        if seen == MINUTES {
            return Err(lines.wrong(format!("has more than {MINUTES} minutes")));
        }
        if count > 0 {
            minutes.push((u16::try_from(seen).expect("a day's minute"), u32::try_from(count).expect("bounded above")));
        }
        seen += 1;
    }
    if seen < MINUTES {
        return Err(lines.wrong(format!("has {seen} minutes, not {MINUTES}")));
    }
    Ok(minutes)
}

/// Adds the minutes of a second row of the same function.
fn add(minutes: &mut Vec<(u16, u32)>, more: &[(u16, u32)]) {
    for (minute, count) in more {
        match minutes.binary_search_by_key(minute, |(minute, _)| *minute) {
            Ok(place) => minutes[place].1 = minutes[place].1.saturating_add(*count),
            Err(place) => minutes.insert(place, (*minute, *count)),
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A file's lines, none longer than [`LINE_BYTES_MAX`].
struct Lines {
    file: PathBuf,
    reader: BufReader<File>,
    number: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|error| Error::Read { file: path.to_owned(), error })?;
        Ok(Self { file: path.to_owned(), reader: BufReader::new(file), number: 0 })
    }

    /// The next line that is not empty, without its end.
    fn next(&mut self) -> Result<Option<String>, Error> {
        loop {
            let mut bytes = Vec::new();
            let mut limited = self.reader.by_ref().take(LINE_BYTES_MAX);
            let read = limited.read_until(b'\n', &mut bytes);
            let read = read.map_err(|error| Error::Read { file: self.file.clone(), error })?;
            self.number += 1;
            if read == 0 {
                return Ok(None);
            }
            if bytes.last() != Some(&b'\n') && bytes.len() as u64 == LINE_BYTES_MAX {
                return Err(self.wrong(format!("is longer than {LINE_BYTES_MAX} bytes")));
            }
            let line = String::from_utf8(bytes).map_err(|_| self.wrong("is not text"))?;
            let line = line.trim_end_matches(['\n', '\r']);
            if !line.is_empty() {
                return Ok(Some(line.to_owned()));
            }
        }
    }

    /// The first line, which must begin with these names and, if `width` is not 0, have so many.
    fn header(&mut self, names: &[&str], width: usize) -> Result<Vec<String>, Error> {
        let line = self.next()?.ok_or_else(|| self.wrong("the file is empty"))?;
        let header: Vec<String> = line.trim_start_matches('\u{feff}').split(',').map(str::to_owned).collect();
        if !header.iter().map(String::as_str).take(names.len()).eq(names.iter().copied()) {
            return Err(self.wrong(format!("does not begin with {}", names.join(","))));
        }
        if width != 0 && header.len() != width {
            return Err(self.wrong(format!("has {} columns, not {width}", header.len())));
        }
        Ok(header)
    }

    fn wrong(&self, what: impl Into<String>) -> Error {
        Error::Line { file: self.file.clone(), line: self.number, what: what.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn header() -> String {
        (1..=MINUTES).fold("HashOwner,HashApp,HashFunction,Trigger".to_owned(), |mut line, minute| {
            write!(line, ",{minute}").unwrap();
            line
        })
    }

    /// A row whose calls come in these minutes.
    fn row(names: &str, calls: &[(usize, u32)]) -> String {
        (0..MINUTES).fold(names.to_owned(), |mut line, minute| {
            let count = calls.iter().find(|(at, _)| *at == minute).map_or(0, |(_, count)| *count);
            write!(line, ",{count}").unwrap();
            line
        })
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(invocations: &[String]) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            folder.write("invocations_per_function_md.anon.d01.csv", &invocations.join("\n"));
            folder
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.0.path().join(name), text).unwrap();
        }

        fn read(&self) -> Result<(Dataset, Vec<Calls>), Error> {
            let mut dataset = Dataset::open(self.0.path())?;
            let calls = dataset.read(0)?;
            Ok((dataset, calls))
        }

        fn refusal(&self) -> String {
            let error = self.read().err().expect("it was accepted");
            error.to_string().rsplit('/').next().unwrap().to_owned()
        }
    }

    fn refusal(lines: &[String]) -> String {
        Folder::new(lines).refusal()
    }

    #[test]
    fn a_day_is_read_as_published() {
        let folder = Folder::new(&[
            header(),
            row("o1,a1,f1,http", &[(0, 1), (1_439, 120)]),
            row("o1,a1,f2,timer", &[(5, 1)]),
            row("o1,a1,f1,queue", &[(0, 2), (7, 1)]),
        ]);
        folder.write(
            "function_durations_percentiles.anon.d01.csv",
            "HashOwner,HashApp,HashFunction,Average,Count,Minimum,Maximum\no1,a1,f1,1500.5,3,1,9\n",
        );
        folder.write(
            "app_memory_percentiles.anon.d01.csv",
            "HashOwner,HashApp,SampleCount,AverageAllocatedMb,AverageAllocatedMb_pct1\r\no1,a1,10,203.0,1\r\n",
        );
        let (dataset, calls) = folder.read().unwrap();
        assert_eq!((dataset.days(), dataset.functions()), (1, 2));
        assert_eq!(dataset.profile(0), Profile { memory_mb: 203 });
        assert_eq!(calls[0].minutes, [(0, 3), (7, 1), (1_439, 120)]);
        assert_eq!((calls[0].duration_ms, calls[1].duration_ms), (1_500, DURATION_MS_UNKNOWN));
        let stretches: Vec<_> = calls[0].stretches(1).collect();
        assert_eq!(stretches[0].at_ms, DAY_MS);
        assert_eq!((stretches[2].count, stretches[2].parallel), (120, 4));
        assert!((DAY_MS + 7 * MINUTE_MS..DAY_MS + 8 * MINUTE_MS).contains(&stretches[1].at_ms));
    }

    #[test]
    fn later_days_know_the_same_functions() {
        let folder = Folder::new(&[header(), row("o,a,f,http", &[(1, 1)])]);
        let second = [header(), row("o,a,g,http", &[(2, 1)]), row("o,a,f,http", &[(3, 1)])].join("\n");
        folder.write("invocations_per_function_md.anon.d02.csv", &second);
        let mut dataset = Dataset::open(folder.0.path()).unwrap();
        dataset.read(0).unwrap();
        let calls = dataset.read(1).unwrap();
        assert_eq!((dataset.days(), calls[0].function, calls[1].function), (2, 1, 0));
        assert_eq!(dataset.profile(0), Profile { memory_mb: MEMORY_MB_UNKNOWN });
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let first = "invocations_per_function_md.anon.d01.csv";
        let good = || row("o,a,f,http", &[]);
        assert_eq!(refusal(&[]), format!("{first}:1: the file is empty"));
        assert_eq!(
            refusal(&["a,b".into()]),
            format!("{first}:1: does not begin with HashOwner,HashApp,HashFunction,Trigger")
        );
        assert_eq!(
            refusal(&["HashOwner,HashApp,HashFunction,Trigger,1".into()]),
            format!("{first}:1: has 5 columns, not 1444")
        );
        assert_eq!(refusal(&[header(), good(), "o,a".into()]), format!("{first}:3: has too few fields"));
        assert_eq!(refusal(&[header(), "o,a,f,http,1,2".into()]), format!("{first}:2: has 2 minutes, not 1440"));
        assert_eq!(refusal(&[header(), good() + ",1"]), format!("{first}:2: has more than 1440 minutes"));
        let negative = good().replacen(",0", ",-1", 1);
        assert_eq!(refusal(&[header(), negative]), format!("{first}:2: \"-1\" is no number of calls"));
        let many = good().replacen(",0", ",100000001", 1);
        assert_eq!(
            refusal(&[header(), many]),
            format!("{first}:2: 100000001 calls in a minute are more than 100000000")
        );
        let unnamed = row(",a,f,http", &[]);
        assert!(refusal(&[header(), unnamed]).starts_with(&format!("{first}:2: \"\" is no name")));
        let long = "x".repeat(usize::try_from(LINE_BYTES_MAX).unwrap() + 1);
        assert_eq!(refusal(&[header(), long]), format!("{first}:2: is longer than {LINE_BYTES_MAX} bytes"));
    }

    #[test]
    fn the_other_files_are_not_believed_either() {
        let file = "function_durations_percentiles.anon.d01.csv";
        for (text, what) in [
            ("HashOwner,HashApp,HashFunction,Count\n", "1: names no column with the average"),
            ("HashOwner,HashApp,HashFunction,Average\no,a,f,x\n", "2: \"x\" is no number"),
            ("HashOwner,HashApp,HashFunction,Average\no,a,f,NaN\n", "2: \"NaN\" is no average"),
            ("HashOwner,HashApp,HashFunction,Average\no,a,f\n", "2: \"\" is no number"),
        ] {
            let folder = Folder::new(&[header()]);
            folder.write(file, text);
            assert_eq!(folder.refusal(), format!("{file}:{what}"));
        }
        let folder = Folder::new(&[header()]);
        std::fs::write(folder.0.path().join(file), b"HashOwner,HashApp,HashFunction,Average\n\xff\n").unwrap();
        assert_eq!(folder.refusal(), format!("{file}:2: is not text"));
    }

    #[test]
    fn an_empty_folder_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let error = Dataset::open(folder.path()).err().unwrap();
        assert!(error.to_string().ends_with("has no invocations_per_function_md.anon.d01.csv"));
    }
}
