//! Reading the planned rows whole: file after file, in order.

use super::hand::{BYTES, Hand, Origin, ROWS, Tables, table};
use super::prepare::{Making, strings};
use super::{Rows, build, value_of};
use crate::dataset::batch::Stop;
use crate::dataset::error::Error;
use crate::dataset::layout::Format;
use crate::dataset::parquet::{At, AtOnce};
use crate::dataset::plan::{Begun, Part, Plan, Work};
use crate::dataset::read::{Cursor, Reading};
use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Reads the planned rows, and hands them over.
pub(super) fn read(plan: Plan, making: &Making, hand: &Hand) -> Result<(), Stop> {
    let Plan { work, runtime, .. } = plan;
    let (parts, left) = match work {
        Work::Parts(parts, most) => (parts, most),
        Work::Held(_) => return Ok(()),
    };
    let mut reading = Reading { runtime: &runtime, left };
    if let (Some(Format::Parquet), Making::Columns(schema)) =
        (parts.first().map(|part| part.member.format), making)
    {
        let at_once = AtOnce { rows: ROWS as u64, bytes: BYTES };
        return reading.parquet(
            parts,
            &|footer, chosen, member| footer.whole(chosen, &member.label),
            &mut |parquet, member, index| {
                let mut tables =
                    Tables::new(hand, Origin::new(member, index), schema.clone(), parquet.schema());
                parquet.each(&member.label, at_once, |decoded, chosen| tables.push(decoded, chosen))
            },
        );
    }
    for mut part in parts {
        if reading.left == 0 {
            break;
        }
        let begun = std::mem::replace(&mut part.begun, Begun::Nothing);
        let cursor = Cursor::open(&part.member, begun, &runtime)?;
        let file = File { part: &part, hand, left: &mut reading.left };
        match (making, part.member.format) {
            (Making::Columns(schema), Format::Arrow) => file.arrow(cursor, schema)?,
            (Making::Columns(schema), _) => file.strings(cursor, schema)?,
            (Making::Json(schema), _) => file.json(cursor, Some(schema))?,
            (Making::Objects, _) => file.json(cursor, None)?,
        }
    }
    Ok(())
}

/// A file that is read from front to back.
struct File<'f> {
    part: &'f Part,
    hand: &'f Hand,
    /// How many rows may still come.
    left: &'f mut u64,
}

impl<'f> File<'f> {
    fn origin(&self) -> Origin<'f> {
        Origin::new(&self.part.member, self.part.index)
    }

    fn arrow(self, mut cursor: Cursor, schema: &SchemaRef) -> Result<(), Stop> {
        let Some(decoded) = cursor.decoded_schema() else { return Ok(()) };
        let (hand, origin) = (self.hand, self.origin());
        let mut tables = Tables::new(hand, origin, schema.clone(), &decoded);
        let mut current: Option<(u64, Result<RecordBatch, String>)> = None;
        let mut chosen: Vec<At> = Vec::new();
        let flush = |tables: &mut Tables,
                     current: &Option<(u64, Result<RecordBatch, String>)>,
                     chosen: &mut Vec<At>| {
            let done = match current {
                Some((_, Ok(batch))) => tables.push(batch, chosen),
                Some((_, Err(detail))) => {
                    chosen.iter().try_for_each(|at| hand.unreadable(origin, at.row, detail))
                }
                None => Ok(()),
            };
            chosen.clear();
            done
        };
        cursor.each(self.part, self.left, |cursor, row| {
            let Some((number, index)) = cursor.place() else { return Ok(()) };
            if current.as_ref().is_none_or(|(current, _)| *current != number) {
                flush(&mut tables, &current, &mut chosen)?;
                current = Some((number, cursor.batch()));
            }
            chosen.push(At { index, row });
            Ok(())
        })?;
        flush(&mut tables, &current, &mut chosen)
    }

    /// Rows whose columns are all text.
    fn strings(self, mut cursor: Cursor, schema: &SchemaRef) -> Result<(), Stop> {
        let names: Vec<String> = cursor.columns().into_iter().flatten().map(|column| column.name).collect();
        let own = strings(&cursor.columns().unwrap_or_default());
        let mut tables = Tables::new(self.hand, self.origin(), schema.clone(), &own);
        let mut texts = Texts::new(own);
        let (hand, origin) = (self.hand, self.origin());
        cursor.each(self.part, self.left, |cursor, row| match cursor.values(&names) {
            Ok(values) => {
                if texts.rows.len() == ROWS || texts.bytes + cursor.size() as u64 > BYTES {
                    texts.flush(&mut tables)?;
                }
                texts.push(row, &values, cursor.size() as u64);
                Ok(())
            }
            Err(detail) => {
                texts.flush(&mut tables)?;
                hand.unreadable(origin, row, &detail)
            }
        })?;
        texts.flush(&mut tables)
    }

    /// Rows of JSON: tables of a schema, or objects.
    fn json(self, mut cursor: Cursor, schema: Option<&SchemaRef>) -> Result<(), Stop> {
        let (hand, origin) = (self.hand, self.origin());
        let mut objects = Objects { schema, label: &self.part.member.label, ..Objects::default() };
        // A row of few keys takes room in all columns.
        let least = schema.map_or(0, |schema| 8 * leaves(schema.fields()));
        cursor.each(self.part, self.left, |cursor, row| {
            let object = match cursor.object() {
                Ok((object, is_long)) => {
                    if is_long && schema.is_none() {
                        hand.long_integer(origin, row);
                    }
                    hand.own(|column| Ok(value_of(&object, column).cloned())).map(|own| (object, own))
                }
                Err(detail) => Err(detail),
            };
            match object {
                Ok((object, own)) => {
                    let bytes = least + cursor.size() as u64;
                    if objects.rows.len() == ROWS || objects.bytes + bytes > BYTES {
                        objects.flush(hand, origin)?;
                    }
                    objects.rows.push(row);
                    objects.own.push(own);
                    objects.gathered.push(object);
                    objects.bytes += bytes;
                    Ok(())
                }
                Err(detail) => {
                    objects.flush(hand, origin)?;
                    hand.unreadable(origin, row, &detail)
                }
            }
        })?;
        objects.flush(hand, origin)
    }
}

fn leaves(fields: &Fields) -> u64 {
    fn of(field: &Field) -> u64 {
        match field.data_type() {
            DataType::Struct(fields) => leaves(fields),
            _ => 1,
        }
    }
    fields.iter().map(|field| of(field)).sum()
}

/// Rows of text that are gathered for a table.
struct Texts {
    schema: SchemaRef,
    columns: Vec<StringBuilder>,
    rows: Vec<u64>,
    bytes: u64,
}

impl Texts {
    fn new(schema: SchemaRef) -> Self {
        let columns = schema.fields().iter().map(|_| StringBuilder::new()).collect();
        Self { schema, columns, rows: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, row: u64, values: &[Option<Value>], bytes: u64) {
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.append_option(value.as_ref().and_then(Value::as_str));
        }
        self.rows.push(row);
        self.bytes += bytes;
    }

    fn flush(&mut self, tables: &mut Tables) -> Result<(), Stop> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        let columns = self.columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        let batch = table(&self.schema, columns, rows.len()).map_err(|detail| made(&detail))?;
        let chosen: Vec<At> = rows.into_iter().enumerate().map(|(index, row)| At { index, row }).collect();
        tables.push(&batch, &chosen)
    }
}

/// Objects that are gathered for a table.
#[derive(Default)]
struct Objects<'o> {
    schema: Option<&'o SchemaRef>,
    label: &'o str,
    rows: Vec<u64>,
    own: Vec<Option<String>>,
    gathered: Vec<Map<String, Value>>,
    bytes: u64,
}

impl Objects<'_> {
    fn flush(&mut self, hand: &Hand, origin: Origin) -> Result<(), Stop> {
        self.bytes = 0;
        let objects = std::mem::take(&mut self.gathered);
        let rows = match self.schema {
            None => Rows::Objects(objects),
            Some(schema) => Rows::Arrow(built(schema, &objects).map_err(|detail| {
                Error::corrupt(self.label, "has changed since its columns were looked at", &detail)
            })?),
        };
        hand.table(origin, (std::mem::take(&mut self.rows), std::mem::take(&mut self.own)), rows)
    }
}

fn built(schema: &SchemaRef, objects: &[Map<String, Value>]) -> Result<RecordBatch, String> {
    let rows: Vec<_> = objects.iter().map(Some).collect();
    table(schema, build::columns(&rows, schema.fields())?, objects.len())
}

fn made(detail: &str) -> Stop {
    Stop::Failed(Error::corrupt("rows", "do not fit into a table", detail))
}
