//! Kept rows as JSON lines.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value};

use super::files::Files;
use super::{Options, Shard, Values};
use crate::dataset::whole::{Rows, Table};
use crate::export::Error;
use crate::record::cell::cell;

/// Writes JSON lines.
#[derive(Debug)]
pub(super) struct Writer {
    files: Files,
    added: Vec<String>,
    shard_size: u64,
    open: Option<Open>,
    /// The line at hand.
    line: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    file: BufWriter<File>,
    path: PathBuf,
    rows: u64,
    bytes: u64,
}

impl Writer {
    pub(super) fn create(options: Options) -> Self {
        Self {
            files: Files::new(options.folder, &options.split, options.to),
            added: options.added.into_iter().map(|(name, _)| name).collect(),
            shard_size: options.shard_size,
            open: None,
            line: Vec::new(),
        }
    }

    pub(super) fn write(&mut self, table: &Table, keep: &[bool], added: &[Values]) -> Result<(), Error> {
        let kept = keep.iter().enumerate().filter(|(_, keep)| **keep);
        for (nth, (at, _)) in kept.enumerate() {
            self.line.clear();
            let object = object(table, at)?;
            if let Some(name) = self.added.iter().find(|name| object.get().contains_key(*name)) {
                let problem = "is there already: choose other names with --score-name";
                return Err(Error::row(&table.ids.get(at), name, problem));
            }
            let line = Line { object: object.get(), names: &self.added, added, nth };
            serde_json::to_writer(&mut self.line, &line)
                .map_err(|error| Error::encode(self.files.folder(), &error.to_string()))?;
            self.line.push(b'\n');
            self.write_line()?;
        }
        Ok(())
    }

    fn write_line(&mut self) -> Result<(), Error> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.next()?,
        };
        open.file.write_all(&self.line).map_err(Error::output(&open.path))?;
        open.rows += 1;
        open.bytes += self.line.len() as u64;
        if open.bytes >= self.shard_size {
            return self.close(open);
        }
        self.open = Some(open);
        Ok(())
    }

    fn next(&self) -> Result<Open, Error> {
        let (file, path) = self.files.open()?;
        Ok(Open { file: BufWriter::with_capacity(1 << 18, file), path, rows: 0, bytes: 0 })
    }

    fn close(&mut self, open: Open) -> Result<(), Error> {
        let Open { file, path, rows, .. } = open;
        let file = file.into_inner().map_err(|error| Error::output(&path)(error.into_error()))?;
        self.files.close(&file, path, rows)
    }

    pub(super) fn finish(mut self) -> Result<Vec<Shard>, Error> {
        let open = match self.open.take() {
            None if self.files.complete() == 0 => Some(self.next()?),
            open => open,
        };
        if let Some(open) = open {
            self.close(open)?;
        }
        self.files.name()
    }
}

/// A row as an object: as it is stored, or made of its cells.
enum Object<'t> {
    Stored(&'t Map<String, Value>),
    Made(Map<String, Value>),
}

impl Object<'_> {
    fn get(&self) -> &Map<String, Value> {
        match self {
            Self::Stored(object) => object,
            Self::Made(object) => object,
        }
    }
}

fn object(table: &Table, at: usize) -> Result<Object<'_>, Error> {
    match &table.rows {
        Rows::Objects(objects) => Ok(Object::Stored(&objects[at])),
        Rows::Arrow(batch) => {
            let schema = batch.schema_ref();
            let cells = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
                let value = cell(column, at);
                let value =
                    value.map_err(|problem| Error::row(&table.ids.get(at), field.name(), &problem))?;
                Ok((field.name().clone(), value))
            });
            Ok(Object::Made(cells.collect::<Result<_, Error>>()?))
        }
    }
}

/// A line: the row's own keys, then the added ones.
struct Line<'a> {
    object: &'a Map<String, Value>,
    names: &'a [String],
    added: &'a [Values],
    /// Which of the added values are the row's.
    nth: usize,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.object.len() + self.added.len()))?;
        for (key, value) in self.object {
            map.serialize_entry(key, value)?;
        }
        for (name, values) in self.names.iter().zip(self.added) {
            match values {
                Values::Double(values) => map.serialize_entry(name, &values.get(self.nth))?,
                Values::Int(values) => map.serialize_entry(name, &values.get(self.nth))?,
            }
        }
        map.end()
    }
}
