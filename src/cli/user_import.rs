//! `countersign user import`: users from a file, in batches. What was broken off is finished by running it again.

use std::{
    fmt::Display,
    fs::File,
    io::{self, BufRead, BufReader, Write as _},
    path::PathBuf,
};

use clap::Args;

use super::{
    output::say,
    progress::Progress,
    user_file::{Line, next_line},
};
use crate::{
    auth::{
        Accounts,
        users::import::{Import, ImportMode, ImportRow, Outcome, Totals},
    },
    domain::text,
    error::{Error, Violation},
};

const BATCH: usize = 1000;
/// The most rows that are named on standard error.
const MAX_NAMED: u64 = 100;

#[derive(Args)]
pub(super) struct UserImport {
    /// One JSON object on each line, as `export` writes them; - for standard input
    file: PathBuf,
    /// Write nothing, and say what would be written
    #[arg(long)]
    dry_run: bool,
}

/// The rows that were read so far, and their outcome.
struct Reading {
    line: u64,
    totals: Totals,
    named: u64,
    shown: Progress,
}

impl UserImport {
    pub(super) async fn run(self, accounts: &Accounts) -> Result<(), Error> {
        let mut input = self.open().map_err(unreadable)?;
        let mode = if self.dry_run { ImportMode::DryRun } else { ImportMode::Write };
        let (mut import, mut reading) = (Import::new(mode), Reading::new());
        loop {
            let (lines, rows) = reading.read(&mut *input)?;
            reading.shown.at(reading.totals.rows());
            if lines.is_empty() {
                break;
            }
            let (after, outcomes) = accounts.users.import(import, rows).await?;
            import = after;
            for (line, outcome) in lines.into_iter().zip(outcomes) {
                reading.count(line, &outcome);
            }
        }
        reading.conclude(mode)
    }

    fn open(&self) -> io::Result<Box<dyn BufRead>> {
        if self.file.as_os_str() == "-" {
            return Ok(Box::new(BufReader::new(io::stdin())));
        }
        Ok(Box::new(BufReader::new(File::open(&self.file)?)))
    }
}

impl Reading {
    fn new() -> Self {
        Self { line: 0, totals: Totals::default(), named: 0, shown: Progress::of("rows read", None) }
    }

    /// A batch of rows, and the lines that they are on. Empty lines are passed over, and what is no row is counted.
    fn read(&mut self, input: &mut dyn BufRead) -> Result<(Vec<u64>, Vec<ImportRow>), Error> {
        let (mut lines, mut rows) = (Vec::new(), Vec::new());
        while rows.len() < BATCH
            && let Some(line) = next_line(input).map_err(unreadable)?
        {
            self.line += 1;
            if self.line == 1 && line.as_ref().is_ok_and(|line| text::is_utf_16(line)) {
                return Err(Error::invalid("file", text::NOT_UTF_8));
            }
            let row = line.and_then(|line| match text::line(&line, self.line) {
                [] => Ok(None),
                row => Line::parse(row).map(Some),
            });
            match row {
                Ok(None) => {}
                Ok(Some(row)) => {
                    lines.push(self.line);
                    rows.push(row);
                }
                Err(violation) => self.count(self.line, &Outcome::Invalid(vec![violation])),
            }
        }
        Ok((lines, rows))
    }

    fn count(&mut self, line: u64, outcome: &Outcome) {
        self.totals.count(outcome);
        let what = match outcome {
            Outcome::Imported | Outcome::Exists => return,
            Outcome::Duplicate => "an earlier line has the same name".to_owned(),
            Outcome::Invalid(violations) => describe(violations),
        };
        self.named += 1;
        if self.named <= MAX_NAMED {
            self.shown.clear();
            tell(format_args!("line {line}: {what}\n"));
        }
    }

    fn conclude(mut self, mode: ImportMode) -> Result<(), Error> {
        self.shown.clear();
        if self.named > MAX_NAMED {
            tell(format_args!("and {} lines more\n", self.named - MAX_NAMED));
        }
        let Totals { imported, skipped, refused } = self.totals;
        let verb = match mode {
            ImportMode::Write => "imported",
            ImportMode::DryRun => "would be imported",
        };
        let said =
            say(format_args!("{imported} {verb}, {skipped} skipped (there already, or twice), {refused} refused"));
        // Scripts go by the exit code, whether or not anybody reads the totals.
        match refused {
            0 => said,
            refused => Err(Error::invalid("file", format!("{refused} rows were refused"))),
        }
    }
}

fn describe(violations: &[Violation]) -> String {
    let describe = |v: &Violation| format!("{}: {}", v.field, v.description);
    violations.iter().map(describe).collect::<Vec<_>>().join("; ")
}

fn tell(text: impl Display) {
    // Nobody is left to tell when standard error is closed.
    drop(write!(io::stderr(), "{text}"));
}

fn unreadable(error: io::Error) -> Error {
    Error::invalid("file", format!("cannot be read: {}", text::system_words(&error)))
}
