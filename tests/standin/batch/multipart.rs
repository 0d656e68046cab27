//! `multipart/form-data` (RFC 7578), read in pieces: what is not a file is small, and a file goes to the disk as it comes.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write as _},
};

use bytes::{Buf as _, BytesMut};
use memchr::memmem;

/// The most bytes of a part's head, and of a field that is no file.
const LARGEST_FIELD: usize = 64 << 10;

/// What a form had.
#[derive(Debug, Default)]
pub(super) struct Form {
    /// Fields that are no files, by name.
    pub(super) fields: BTreeMap<String, String>,
    /// The last file of it.
    pub(super) file: Option<Upload>,
}

/// A file as it came.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) file: File,
}

/// A form that is being read.
#[derive(Debug)]
pub(super) struct Reader {
    /// Ends every part: CRLF, two dashes, the boundary.
    delimiter: Vec<u8>,
    buffer: BytesMut,
    place: Place,
    form: Form,
}

#[derive(Debug)]
enum Place {
    /// Behind a delimiter: either a part's head or the end.
    Head,
    Field(String, Vec<u8>),
    File(String, u64, BufWriter<File>),
    /// Behind the last delimiter.
    End,
}

impl Reader {
    /// The error says what is wrong with the content type.
    pub(super) fn new(content_type: &str) -> Result<Self, String> {
        let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        let boundary = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("boundary="));
        match boundary.map(|boundary| boundary.trim_matches('"')) {
            Some(boundary) if kind.trim() == "multipart/form-data" && !boundary.is_empty() => Ok(Self {
                delimiter: format!("\r\n--{boundary}").into_bytes(),
                // The first delimiter has no line before it.
                buffer: BytesMut::from(&b"\r\n"[..]),
                place: Place::Field(String::new(), Vec::new()),
                form: Form::default(),
            }),
            _ => Err(format!("the body has to be multipart/form-data with a boundary, not '{content_type}'")),
        }
    }

    /// Reads a piece. The error says what is wrong with the form.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), String> {
        self.buffer.extend_from_slice(piece);
        while self.step()? {}
        Ok(())
    }

    /// The form, if all of it came.
    pub(super) fn end(self) -> Result<Form, String> {
        match self.place {
            Place::End => Ok(self.form),
            _ => Err("the form ends before its last boundary".to_owned()),
        }
    }

    /// Whether there may be more to read in what has come.
    fn step(&mut self) -> Result<bool, String> {
        match &self.place {
            Place::End => {
                self.buffer.clear();
                Ok(false)
            }
            Place::Head => self.head(),
            Place::Field(..) | Place::File(..) => self.body(),
        }
    }

    fn head(&mut self) -> Result<bool, String> {
        if self.buffer.len() < 2 {
            return Ok(false);
        }
        if self.buffer.starts_with(b"--") {
            self.place = Place::End;
            return Ok(true);
        }
        let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") else {
            return if self.buffer.len() > LARGEST_FIELD {
                Err("the head of a part is too long".to_owned())
            } else {
                Ok(false)
            };
        };
        let head = String::from_utf8_lossy(&self.buffer.split_to(end + 4)).into_owned();
        let disposition = head
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))
            .ok_or("a part has no content-disposition")?;
        let quoted = |key: &str| {
            let (_, after) = disposition.split_once(&format!("; {key}=\""))?;
            after.split_once('"').map(|(value, _)| value.to_owned())
        };
        let name = quoted("name").ok_or("a part has no name")?;
        self.place = match quoted("filename") {
            Some(filename) => {
                let file = tempfile::tempfile().map_err(|error| error.to_string())?;
                Place::File(filename, 0, BufWriter::with_capacity(1 << 20, file))
            }
            None => Place::Field(name, Vec::new()),
        };
        Ok(true)
    }

    fn body(&mut self) -> Result<bool, String> {
        let found = memmem::find(&self.buffer, &self.delimiter);
        // The last bytes may be the beginning of a delimiter.
        let length = found.unwrap_or_else(|| (self.buffer.len() + 1).saturating_sub(self.delimiter.len()));
        match &mut self.place {
            Place::Field(_, value) => value.extend_from_slice(&self.buffer[..length]),
            Place::File(_, bytes, file) => {
                file.write_all(&self.buffer[..length]).map_err(|error| error.to_string())?;
                *bytes += length as u64;
            }
            Place::Head | Place::End => {}
        }
        self.buffer.advance(length);
        if matches!(&self.place, Place::Field(_, value) if value.len() > LARGEST_FIELD) {
            return Err("a field is too long".to_owned());
        }
        if found.is_none() {
            return Ok(false);
        }
        self.buffer.advance(self.delimiter.len());
        match std::mem::replace(&mut self.place, Place::Head) {
            Place::Field(name, value) => {
                self.form.fields.insert(name, String::from_utf8_lossy(&value).into_owned());
            }
            Place::File(name, bytes, file) => {
                let file = file.into_inner().map_err(|error| error.to_string())?;
                self.form.file = Some(Upload { name, bytes, file });
            }
            Place::Head | Place::End => {}
        }
        Ok(true)
    }
}

/// Reads at a place of a file, whose own place no reader shares.
#[cfg(unix)]
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

/// Reads at a place of a file, whose own place no reader shares.
#[cfg(windows)]
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
        --x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\
        Content-Type: application/jsonl\r\n\r\n{}\r\n--y\r\n{}\n\r\n--x--\r\n";

    fn read(size: usize) -> Result<Form, String> {
        let mut reader = Reader::new("multipart/form-data; boundary=\"x\"")?;
        for piece in FORM.as_bytes().chunks(size) {
            reader.push(piece)?;
        }
        reader.end()
    }

    #[test]
    fn a_form_is_read_in_pieces_of_any_size() {
        for size in 1..=FORM.len() {
            let form = read(size).unwrap();
            assert_eq!(form.fields["purpose"], "batch", "{size}");
            let upload = form.file.unwrap();
            let mut text = [0; 20];
            let length = read_at(&upload.file, &mut text, 0).unwrap();
            assert_eq!(text[..length], *b"{}\r\n--y\r\n{}\n", "{size}");
            assert_eq!((upload.name.as_str(), upload.bytes), ("a.jsonl", length as u64));
        }
    }

    #[test]
    fn a_form_that_is_cut_is_none() {
        let mut reader = Reader::new("multipart/form-data; boundary=x").unwrap();
        reader.push(&FORM.as_bytes()[..FORM.len() - 6]).unwrap();
        assert!(reader.end().unwrap_err().contains("before its last boundary"));
        assert!(Reader::new("application/json").is_err());
    }
}
