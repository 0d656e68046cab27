//! Before whole rows are read: the schema that all files, or all rows of JSON, fit into.

use super::Form;
use super::hand::long_integers;
use super::kinds::Inferred;
use super::schema::Union;
use crate::dataset::batch::Stop;
use crate::dataset::error::Error;
use crate::dataset::gather::Member;
use crate::dataset::layout::Format;
use crate::dataset::parquet::schema::known;
use crate::dataset::plan::{self, Begun, Files, Opened, Part, Plan, Work};
use crate::dataset::read::Cursor;
use crate::dataset::{Column, News, Request};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::io;
use std::sync::Arc;
use tokio::runtime::Handle;

/// How tables are made.
#[derive(Debug)]
pub(super) enum Making {
    /// From columns of any types, into those of this schema.
    Columns(SchemaRef),
    /// From rows of JSON, which all fit into this schema.
    Json(SchemaRef),
    /// Rows of JSON as they are.
    Objects,
}

/// What is known before the rows are read.
pub(super) struct Prepared {
    pub(super) schema: Option<SchemaRef>,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Option<u64>,
    pub(super) notes: Vec<String>,
    pub(super) making: Making,
    pub(super) plan: Plan,
}

pub(super) fn prepare(
    request: Request,
    files: Files,
    (form, runtime): (Form, Handle),
    is_stopped: &dyn Fn() -> bool,
) -> Result<Prepared, Error> {
    let Opened { columns, sampled, mut plan, .. } = plan::open(request, files, runtime, is_stopped)?;
    let looking = Looking { is_stopped, request: &plan.request, runtime: &plan.runtime };
    let (mut rows, mut notes) = (sampled, Vec::new());
    let making = match &mut plan.work {
        Work::Parts(parts, most) => match (parts.first().map(|part| part.member.format), form) {
            (Some(Format::Json | Format::Jsonl), Form::AsStored) => Making::Objects,
            (Some(Format::Json | Format::Jsonl), Form::Arrow) => {
                let (schema, counted) = looking.json(parts, *most, &mut notes)?;
                rows = Some(counted);
                Making::Json(Arc::new(schema))
            }
            _ => {
                let (schema, said) = looking.files(parts, *most)?.finish();
                notes.extend(said);
                Making::Columns(schema)
            }
        },
        Work::Held(_) => Making::Objects,
    };
    let schema = match &making {
        Making::Columns(schema) | Making::Json(schema) => Some(schema.clone()),
        Making::Objects => None,
    };
    let columns = schema.as_ref().map_or(columns, |schema| known(schema).columns);
    Ok(Prepared { schema, columns, rows, notes, making, plan })
}

struct Looking<'l> {
    request: &'l Request,
    runtime: &'l Handle,
    is_stopped: &'l dyn Fn() -> bool,
}

impl Looking<'_> {
    /// What the files declare.
    fn files(&self, parts: &mut [Part], most: u64) -> Result<Union, Error> {
        let mut union = Union::default();
        if parts.first().is_some_and(|part| part.member.format == Format::Parquet) {
            plan::each_footer(parts, most, self.runtime, &mut |member, footer| {
                self.check_stop()?;
                union.add(&member.label, &footer.schema(&member.label)?)
            })?;
            return Ok(union);
        }
        for part in parts {
            self.check_stop()?;
            if let Some(schema) = self.declared(&part.member)? {
                union.add(&part.member.label, &schema)?;
            }
        }
        Ok(union)
    }

    /// What a file declares that is read from front to back; nothing if it is a file of nothing.
    fn declared(&self, member: &Member) -> Result<Option<SchemaRef>, Error> {
        let cursor = Cursor::open(member, Begun::Nothing, self.runtime)?;
        if let Some(schema) = cursor.arrow_schema() {
            return Ok(Some(schema));
        }
        let columns = cursor.columns().unwrap_or_default();
        Ok(Some(strings(&columns)).filter(|schema| !schema.fields().is_empty()))
    }

    /// The schema of rows of JSON, and how many rows there are. What has been read of a stream already is used up: it is
    /// read again from its beginning.
    fn json(&self, parts: &mut [Part], most: u64, notes: &mut Vec<String>) -> Result<(Schema, u64), Error> {
        const BETWEEN_LOOKS: u64 = 1 << 10;
        self.tell(parts);
        let mut inferred = Inferred::default();
        let (mut left, mut rows, mut long) = (most, 0_u64, None);
        for part in parts {
            if left == 0 {
                break;
            }
            let begun = std::mem::replace(&mut part.begun, Begun::Nothing);
            let mut cursor = Cursor::open(&part.member, begun, self.runtime)?;
            let walked = cursor.each(part, &mut left, |cursor, row| {
                if rows.is_multiple_of(BETWEEN_LOOKS) {
                    self.check_stop()?;
                }
                rows += 1;
                // A row that cannot be read is told of when it is its turn.
                if let Ok((object, is_long)) = cursor.object() {
                    inferred.add(&object, &self.request.name)?;
                    if is_long && long.is_none() {
                        long = Some(format!("{}#{row}", part.member.path));
                    }
                }
                Ok(())
            });
            match walked {
                Ok(()) => {}
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Gone) => return Err(self.stopped()),
            }
        }
        let (schema, said) = inferred.finish();
        notes.extend(said);
        if let Some(row) = long {
            notes.push(long_integers(&row));
        }
        Ok((schema, rows))
    }

    fn tell(&self, parts: &[Part]) {
        const LARGE: u64 = 1 << 30;
        let bytes: u64 = parts.iter().map(|part| part.member.size).sum();
        if bytes > LARGE {
            let gigabytes = bytes as f64 / 1e9;
            let text = format!("looking for the types of columns: {gigabytes:.1} GB are read once for that");
            self.request.news(&News::Note(&text));
        }
    }

    fn check_stop(&self) -> Result<(), Error> {
        if (self.is_stopped)() { Err(self.stopped()) } else { Ok(()) }
    }

    fn stopped(&self) -> Error {
        Error::io(&self.request.name, io::ErrorKind::Interrupted.into())
    }
}

/// The schema of columns that are all text.
pub(super) fn strings(columns: &[Column]) -> SchemaRef {
    let fields = columns.iter().map(|column| Field::new(&column.name, DataType::Utf8, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
