//! Running the lines of a batch's file, in an order of its own, and writing the files of replies.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    sync::Arc,
};

use serde_json::{Value, json, value::RawValue};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    super::{
        reply::{error_body, usual_code},
        service::{Ran, State},
        shape::{mix, unit},
    },
    files::read_exact_at,
    rules::Twist,
    validate::Request,
};

/// A file that was written, and its size.
pub(super) type Written = (File, u64);

/// What was run of a batch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) total: usize,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
}

/// Why lines were not run, as the error file has it.
pub(super) type Unrun = (&'static str, &'static str);

/// A batch that is being run.
#[derive(Debug)]
pub(super) struct Runner {
    input: Arc<File>,
    /// Where the lines are, in the order in which they are run: not that of the file.
    order: Vec<(u64, usize)>,
    next: usize,
    twists: Vec<Twist>,
    output: Sheet,
    errors: Sheet,
    /// Replies that come once more at the end.
    again: Vec<Vec<u8>>,
    /// The last reply, for lines that are made up.
    reply: Vec<u8>,
    pub(super) counts: Counts,
}

impl Runner {
    pub(super) fn new(
        input: Arc<File>,
        mut order: Vec<(u64, usize)>,
        twists: Vec<Twist>,
    ) -> io::Result<Self> {
        order.sort_by_key(|(offset, _)| mix(*offset));
        let counts = Counts { total: order.len(), ..Counts::default() };
        let (output, errors) = (Sheet::new()?, Sheet::new()?);
        Ok(Self {
            input,
            order,
            next: 0,
            twists,
            output,
            errors,
            again: Vec::new(),
            reply: b"{}".to_vec(),
            counts,
        })
    }

    /// Lines that were run.
    pub(super) fn done(&self) -> usize {
        self.next
    }

    /// Runs the next lines.
    pub(super) fn run(&mut self, state: &State, lines: usize) -> io::Result<()> {
        let end = self.order.len().min(self.next + lines);
        for place in self.next..end {
            let line = self.line(place)?;
            let request = request(&line)?;
            let id = id_of(&request);
            let body = request.body.map_or("null", RawValue::get);
            self.one(state, &id, body.as_bytes())?;
        }
        self.next = end;
        Ok(())
    }

    /// Writes what is left, and why the rest was not run, if there is a rest.
    pub(super) fn finish(mut self, unrun: Unrun) -> io::Result<[Option<Written>; 2]> {
        for place in self.next..self.order.len() {
            let line = self.line(place)?;
            let id = id_of(&request(&line)?);
            self.errors.unrun(&id, unrun)?;
        }
        for line in std::mem::take(&mut self.again) {
            self.output.line(&line)?;
        }
        for twist in std::mem::take(&mut self.twists) {
            match twist {
                Twist::UnknownIds(number) => {
                    for serial in 0..number {
                        let [a, b, c, d] = [0, 1, 2, 3].map(|part| mix((serial << 2) | part));
                        let id = format!("{a:016x}{b:016x}{c:016x}{d:016x}");
                        self.output.line(&replied(&id, 200, &self.reply))?;
                    }
                }
                Twist::Garbage(number) => {
                    let garbage: [&[u8]; 5] =
                        [b"<html>", b"{\"custom_id\":", b"[]", b"\xff\xfe\x00", b"{\"custom_id\":7}"];
                    for line in garbage.iter().cycle().take(usize::try_from(number).unwrap_or(usize::MAX)) {
                        self.output.line(&[line, b"\n".as_slice()].concat())?;
                    }
                }
                _ => {}
            }
        }
        Ok([self.output.end()?, self.errors.end()?])
    }

    fn line(&self, place: usize) -> io::Result<Vec<u8>> {
        let (offset, length) = self.order[place];
        let mut line = vec![0; length];
        read_exact_at(&self.input, &mut line, offset)?;
        Ok(line)
    }

    fn one(&mut self, state: &State, id: &str, body: &[u8]) -> io::Result<()> {
        let digest = xxh3_64(id.as_bytes());
        let chosen = |place: usize, share: f64| unit(mix(digest ^ mix(place as u64 + 1))) < share;
        let refused = self.twists.iter().enumerate().find_map(|(place, twist)| match twist {
            Twist::Refuse { share, status } if chosen(place, *share) => Some(*status),
            _ => None,
        });
        if let Some(status) = refused {
            self.counts.failed += 1;
            let body = error_body(status, usual_code(status), "scripted by the stand-in");
            return self.errors.line(&replied(id, status, body.as_bytes()));
        }
        let Ran { status, body, billed, in_time } = state.run_line(body);
        if !in_time {
            self.counts.failed += 1;
            let why = ("request_timeout", "The request timed out before it was executed.");
            return self.errors.unrun(id, why);
        }
        if status != 200 {
            self.counts.failed += 1;
            return self.errors.line(&replied(id, status, &body));
        }
        self.counts.completed += 1;
        self.counts.input_tokens += billed.prompt;
        self.counts.output_tokens += billed.completion;
        let line = replied(id, status, &body);
        let mut copies = 1;
        for (place, twist) in self.twists.iter_mut().enumerate() {
            match twist {
                Twist::Drop(share) if chosen(place, *share) => copies = 0,
                Twist::Twice(share) if chosen(place, *share) => {
                    if digest.is_multiple_of(2) {
                        copies += 1;
                    } else {
                        self.again.push(line.clone());
                    }
                }
                Twist::UpperIds(left @ 1..) => {
                    *left -= 1;
                    self.again.push(replied(&id.to_uppercase(), status, &body));
                }
                Twist::EmptyIds(left @ 1..) => {
                    *left -= 1;
                    self.again.push(replied("", status, &body));
                }
                _ => {}
            }
        }
        for _ in 0..copies {
            self.output.line(&line)?;
        }
        self.reply = body.into();
        Ok(())
    }
}

/// A file of lines that is being written.
#[derive(Debug)]
struct Sheet {
    file: BufWriter<File>,
    bytes: u64,
}

impl Sheet {
    fn new() -> io::Result<Self> {
        Ok(Self { file: BufWriter::with_capacity(1 << 18, tempfile::tempfile()?), bytes: 0 })
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.bytes += line.len() as u64;
        self.file.write_all(line)
    }

    fn unrun(&mut self, id: &str, (code, message): Unrun) -> io::Result<()> {
        let error = json!({"code": code, "message": message});
        let line = json!({"id": request_id(id), "custom_id": id, "response": null, "error": error});
        self.line(format!("{line}\n").as_bytes())
    }

    /// None where there is no line: the server has no such file then.
    fn end(self) -> io::Result<Option<Written>> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok((self.bytes > 0).then_some((file, self.bytes)))
    }
}

fn request(line: &[u8]) -> io::Result<Request<'_>> {
    serde_json::from_slice(line).map_err(io::Error::other)
}

fn id_of(request: &Request) -> String {
    request.custom_id.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn request_id(id: &str) -> String {
    format!("batch_req_{:016x}", xxh3_64(id.as_bytes()))
}

/// The line of a request that got a reply; a body that is not JSON becomes a string.
fn replied(id: &str, status: u16, body: &[u8]) -> Vec<u8> {
    let body = match serde_json::from_slice::<&RawValue>(body) {
        Ok(raw) if !raw.get().contains(['\n', '\r']) => raw.get().to_owned(),
        Ok(raw) => serde_json::from_str::<Value>(raw.get()).unwrap_or_default().to_string(),
        Err(_) => Value::from(String::from_utf8_lossy(body)).to_string(),
    };
    let (line, id) = (request_id(id), Value::from(id));
    let request = line.trim_start_matches("batch_");
    format!(
        "{{\"id\":\"{line}\",\"custom_id\":{id},\"response\":{{\"status_code\":{status},\
         \"request_id\":\"{request}\",\"body\":{body}}},\"error\":null}}\n"
    )
    .into_bytes()
}
