//! All columns of a parquet file, in the types that it was written with.

use super::schema::{bytes_for_text, texts_as_bytes};
use super::{Footer, Parquet, guarded, unread};
use crate::dataset::error::Error;
use crate::dataset::sample::Chosen;
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::{ARROW_SCHEMA_META_KEY, ProjectionMask, parquet_to_arrow_schema};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, PageIndexPolicy};
use parquet::schema::types::SchemaDescriptor;
use std::sync::Arc;

/// What becomes of the Arrow schema that some writers embed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Embedded {
    Used,
    LeftAside,
}

impl Footer {
    /// The schema that the file was written with: the one that is embedded where it can be used, else what parquet's own
    /// types tell.
    pub(in crate::dataset) fn schema(&self, name: &str) -> Result<SchemaRef, Error> {
        let schema = guarded(|| self.arrow_schema(Embedded::Used));
        let schema = schema.or_else(|_| guarded(|| self.arrow_schema(Embedded::LeftAside)));
        schema.map(Arc::new).map_err(|error| unread(name, error))
    }

    /// Prepares to read the chosen rows whole. Texts and bytes come as views of bytes, of which nobody has checked that
    /// they are text: the decoder checks whole pages, and not those of every kind of text.
    pub(in crate::dataset) fn whole(self, chosen: Chosen<()>, name: &str) -> Result<Parquet, Error> {
        let pages = match &chosen {
            Chosen::Head(head) if *head >= self.rows => PageIndexPolicy::Skip,
            // Where each page begins, so that those without a chosen row are passed over.
            Chosen::Head(_) | Chosen::Rows(_) => PageIndexPolicy::Optional,
        };
        let reading = |embedded| guarded(|| self.reading(&self.arrow_schema(embedded)?, pages));
        let metadata = reading(Embedded::Used).or_else(|_| reading(Embedded::LeftAside));
        let metadata = metadata.map_err(|error| unread(name, error))?;
        Ok(Parquet::planned(self.bytes, metadata, ProjectionMask::all(), chosen))
    }

    fn arrow_schema(&self, embedded: Embedded) -> Result<Schema, ParquetError> {
        let file = self.metadata.metadata().file_metadata();
        let mut notes: Vec<KeyValue> = file.key_value_metadata().cloned().unwrap_or_default();
        if embedded == Embedded::LeftAside {
            notes.retain(|note| note.key != ARROW_SCHEMA_META_KEY);
        }
        parquet_to_arrow_schema(file.schema_descr(), Some(&notes))
    }

    /// The footer again, with the types that are decoded where this schema is to be made of them.
    fn reading(&self, schema: &Schema, pages: PageIndexPolicy) -> Result<ArrowReaderMetadata, ParquetError> {
        let root = texts_as_bytes(self.metadata.parquet_schema().root_schema())?;
        let options = self.options.clone().with_offset_index_policy(pages);
        let options = options.with_parquet_schema(Arc::new(SchemaDescriptor::new(Arc::new(root))));
        let bytes = ArrowReaderMetadata::load(&self.bytes, options)?;
        let views = Arc::new(Schema::new(bytes_for_text(schema.fields())));
        ArrowReaderMetadata::try_new(bytes.metadata().clone(), ArrowReaderOptions::new().with_schema(views))
    }
}
