//! `system.jinja` and `prompt.jinja`: from the values of a row to the two messages of a question.
//!
//! A template is code of the lens's author, a value is text of a stranger. Code is bounded in steps and in
//! what it writes; text is only ever inserted, never parsed. The bounds do not cover text that a template builds
//! up in a variable (`x ~ x` in a loop): the engine has no hook for it.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, OnceLock};

use memchr::memchr;
use minijinja::value::{Enumerator, Object, Value};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};

use super::error::{Fault, NO_FILE};
use super::folder::Folder;
use super::function::shorten;

pub(super) const SYSTEM: &str = "system.jinja";
pub(super) const PROMPT: &str = "prompt.jinja";

/// Steps of the template engine in one rendering. A loop over each letter of a chunk takes about a tenth.
const MAX_STEPS: u64 = 1_000_000;

/// The most one rendering may write, in bytes.
const MAX_OUTPUT_BYTES: usize = 32 << 20;

/// The shortest fence, in tildes.
const MIN_FENCE: usize = 6;

/// How much of an engine's message is passed on, in characters: it may repeat text of the row.
const MAX_PROBLEM: usize = 300;

/// The variable that holds the fence, unless an input field has its name.
const FENCE: &str = "fence";

/// The two messages of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Messages {
    /// The system message: the same for every row of a lens, so that servers can keep it.
    pub system: Arc<str>,
    /// The user message: the row.
    pub prompt: String,
}

/// The compiled templates of a lens.
#[derive(Debug)]
pub(super) struct Templates {
    environment: Environment<'static>,
    fields: Arc<[String]>,
    /// Rendered once: nothing of a row is in it.
    pub(super) system: Arc<str>,
}

/// What the templates say of themselves, after a rendering has loaded what they include.
pub(super) struct Variables {
    /// Used, but neither given nor set in the same template: the file and the name.
    pub(super) unknown: BTreeSet<(String, String)>,
    /// Used by any template.
    pub(super) used: BTreeSet<String>,
}

impl Templates {
    pub(super) fn compile(folder: &Folder, fields: &[String]) -> Result<Self, Fault> {
        let mut environment = Environment::new();
        // Without it an error does not name the variable that is undefined. It costs nothing until then.
        environment.set_debug(true);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(MAX_STEPS));
        environment.set_auto_reload(false);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        minijinja_contrib::add_to_environment(&mut environment);
        for name in [SYSTEM, PROMPT] {
            let text = folder.read(name).map_err(|problem| Fault::new(name, problem))?;
            let text = text.ok_or_else(|| Fault::new(name, NO_FILE))?;
            environment.add_template_owned(name, text).map_err(|error| fault(name, &error))?;
        }
        let folder = folder.clone();
        environment.set_loader(move |name| {
            folder.read(name).map_err(|problem| {
                minijinja::Error::new(ErrorKind::TemplateNotFound, format!("`{name}`: {problem}"))
            })
        });
        let mut templates = Self { environment, fields: fields.into(), system: Arc::from("") };
        let system = templates.evaluate(SYSTEM, Value::UNDEFINED).map_err(|error| {
            let mut fault = fault(SYSTEM, &error);
            if innermost(&error).kind() == ErrorKind::UndefinedError {
                fault.problem +=
                    "; this message is the same for all rows, so fields belong into prompt.jinja";
            }
            fault
        })?;
        templates.system = system.into();
        Ok(templates)
    }

    /// Both messages for one row: a value per field, in their order.
    pub(super) fn render(&self, values: &[&str]) -> Result<Messages, Fault> {
        let prompt = self.evaluate(PROMPT, self.row(values)).map_err(|error| fault(PROMPT, &error))?;
        Ok(Messages { system: Arc::clone(&self.system), prompt })
    }

    /// Renders a made-up row, to find at once what would stop every row: a variable that nobody gives, a filter
    /// or an included file that does not exist, a loop without end. A template that stops for another
    /// reason may only dislike this row.
    pub(super) fn try_out(&self) -> Result<(), Fault> {
        let sample = vec!["A heading\n\nA line of ordinary text.\n"; self.fields.len()];
        let Err(error) = self.evaluate(PROMPT, self.row(&sample)) else { return Ok(()) };
        let first = innermost(&error);
        let detail = first.detail().unwrap_or_default();
        let fatal = match first.kind() {
            ErrorKind::SyntaxError
            | ErrorKind::TemplateNotFound
            | ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownMethod
            | ErrorKind::TooManyArguments
            | ErrorKind::MissingArgument
            | ErrorKind::OutOfFuel
            | ErrorKind::WriteFailure => true,
            ErrorKind::UndefinedError => {
                self.variables().unknown.iter().any(|(_, name)| detail.contains(&format!("`{name}`")))
            }
            ErrorKind::InvalidOperation => detail.contains("recursion limit"),
            _ => false,
        };
        if !fatal {
            return Ok(());
        }
        let mut fault = fault(PROMPT, &error);
        if first.kind() == ErrorKind::UndefinedError {
            fault.problem.push_str("; the lens's input fields are ");
            fault.problem.push_str(&self.fields.join(", "));
        }
        Err(fault)
    }

    /// The names and texts of all templates that were read so far, by name.
    pub(super) fn sources(&self) -> Vec<(String, String)> {
        let mut sources: Vec<(String, String)> = self
            .environment
            .templates()
            .map(|(name, template)| (name.to_owned(), template.source().to_owned()))
            .collect();
        sources.sort();
        sources
    }

    pub(super) fn variables(&self) -> Variables {
        let given: BTreeSet<&str> = self.environment.globals().map(|(name, _)| name).collect();
        let mut variables = Variables { unknown: BTreeSet::new(), used: BTreeSet::new() };
        for (name, template) in self.environment.templates() {
            for variable in template.undeclared_variables(false) {
                let known = given.contains(variable.as_str())
                    || (name != SYSTEM && (variable == FENCE || self.fields.contains(&variable)));
                if !known {
                    variables.unknown.insert((name.to_owned(), variable.clone()));
                }
                variables.used.insert(variable);
            }
        }
        variables
    }

    fn row(&self, values: &[&str]) -> Value {
        Value::from_object(Row {
            fields: Arc::clone(&self.fields),
            values: values.iter().map(|value| Value::from(*value)).collect(),
            fence: OnceLock::new(),
        })
    }

    fn evaluate(&self, name: &str, context: Value) -> Result<String, minijinja::Error> {
        let mut output = Bounded(Vec::with_capacity(1024));
        self.environment.get_template(name)?.render_captured_to(context, &mut output)?;
        String::from_utf8(output.0)
            .map_err(|error| minijinja::Error::new(ErrorKind::WriteFailure, error.to_string()))
    }
}

/// The variables of a prompt. The fence is made when a template asks for it.
#[derive(Debug)]
struct Row {
    fields: Arc<[String]>,
    values: Vec<Value>,
    fence: OnceLock<Value>,
}

impl Object for Row {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        if let Some(index) = self.fields.iter().position(|field| field == key) {
            return self.values.get(index).cloned();
        }
        (key == FENCE).then(|| {
            let values = self.values.iter().filter_map(Value::as_str);
            self.fence.get_or_init(|| Value::from(fence(values))).clone()
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.fields.iter().map(|field| Value::from(field.as_str())).collect())
    }
}

/// A run of tildes that is in none of the values: one longer than the longest there, and at least six. The same
/// values give the same fence (the text of a question is the key of its answer), and nearly all rows share one.
fn fence<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let longest = values.map(longest_run).max().unwrap_or(0);
    "~".repeat(MIN_FENCE.max(longest + 1))
}

fn longest_run(text: &str) -> usize {
    let (mut rest, mut longest) = (text.as_bytes(), 0);
    while let Some(start) = memchr(b'~', rest) {
        let run = rest[start..].iter().take_while(|byte| **byte == b'~').count();
        longest = longest.max(run);
        rest = &rest[start + run..];
    }
    longest
}

/// A buffer that refuses to grow past [`MAX_OUTPUT_BYTES`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::other("output limit"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error that happened first: an error in an included template comes wrapped in one of its includer.
fn innermost(error: &minijinja::Error) -> &minijinja::Error {
    let mut found = error;
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        found = error.downcast_ref().unwrap_or(found);
        next = error.source();
    }
    found
}

fn fault(name: &str, error: &minijinja::Error) -> Fault {
    let error = innermost(error);
    let problem = match error.kind() {
        ErrorKind::OutOfFuel => format!("stopped after {MAX_STEPS} steps; does it loop for ever?"),
        ErrorKind::WriteFailure => {
            format!("stopped after writing {} MiB; does it repeat itself?", MAX_OUTPUT_BYTES >> 20)
        }
        kind => error.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}")),
    };
    let problem = shorten(&problem, MAX_PROBLEM);
    Fault { file: error.name().unwrap_or(name).to_owned(), line: error.line(), problem }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Templates of a lens with the field `resource`, the files written to a folder.
    fn templates(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Templates, Fault>) {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join(SYSTEM), "You rate.").unwrap();
        for (name, text) in files {
            fs::write(temp.path().join(name), text).unwrap();
        }
        let folder = Folder::on_disk(temp.path()).unwrap();
        let templates = Templates::compile(&folder, &["resource".to_owned()]);
        (temp, templates)
    }

    fn render(prompt: &str, value: &str) -> Result<String, Fault> {
        let (_temp, templates) = templates(&[(PROMPT, prompt)]);
        Ok(templates?.render(&[value])?.prompt)
    }

    fn said(fault: &Fault) -> String {
        format!("{}:{}: {}", fault.file, fault.line.unwrap_or(0), fault.problem)
    }

    #[test]
    fn one_trailing_newline_is_dropped_and_no_more() {
        assert_eq!(render("{{ resource }}\n\n", "a\n").unwrap(), "a\n\n");
    }

    #[test]
    fn text_of_a_row_is_neither_escaped_nor_read_as_a_template() {
        let hostile = "<b>&amp;\"' {{ 7 * 7 }} {% include 'x' %} {# #}";
        assert_eq!(render("{{ resource }}", hostile).unwrap(), hostile);
        let (_temp, templates) = templates(&[
            (PROMPT, "{% include 'a.html' %}{% include 'a.json' %}"),
            ("a.html", "{{ resource }}"),
            ("a.json", "{{ resource }}"),
        ]);
        assert_eq!(templates.unwrap().render(&[hostile]).unwrap().prompt, format!("{hostile}{hostile}"));
    }

    #[test]
    fn python_string_methods_work() {
        let prompt = "{{ resource.strip().upper().split(' ')|join('-') }} {{ resource.startswith(' a') }}";
        assert_eq!(render(prompt, " a b ").unwrap(), "A-B True");
    }

    #[test]
    fn siblings_can_be_included_and_imported_and_nothing_else() {
        let macros = "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}";
        let prompt = "{% from 'm.jinja' import twice %}{{ twice(resource) }}{% include 'part.jinja' %}";
        let (_temp, ready) =
            templates(&[(PROMPT, prompt), ("m.jinja", macros), ("part.jinja", "[{{ resource }}]")]);
        assert_eq!(ready.unwrap().render(&["ab"]).unwrap().prompt, "abab[ab]");
        for outside in ["../secret", "/etc/hostname", "missing.jinja"] {
            let (temp, ready) = templates(&[(PROMPT, &format!("\n{{% include '{outside}' %}}"))]);
            fs::write(temp.path().parent().unwrap().join("secret"), "secret").unwrap();
            let text = said(&ready.unwrap().try_out().unwrap_err());
            assert!(text.starts_with("prompt.jinja:2: template not found"), "{text}");
        }
    }

    #[test]
    fn mistakes_are_said_with_file_and_line() {
        let fails = |files: &[(&str, &str)]| {
            let (_temp, ready) = templates(files);
            said(&ready.and_then(|ready| ready.try_out()).unwrap_err())
        };
        insta::assert_snapshot!([
            fails(&[(PROMPT, "a\n{% if %}")]),
            fails(&[(PROMPT, "a\n\n{{ missing }}")]),
            fails(&[(PROMPT, "{{ missing.part }}")]),
            fails(&[(PROMPT, "{{ resource|nofilter }}")]),
            fails(&[(PROMPT, "{{ resource.nomethod() }}")]),
            fails(&[(PROMPT, "{{ nofunction() }}")]),
            fails(&[(PROMPT, "{% include 'part' %}"), ("part", "\n{{ missing }}")]),
            fails(&[(PROMPT, "{% include 'part' %}"), ("part", "\n{% broken")]),
            fails(&[(PROMPT, "x"), (SYSTEM, "\n{{ resource }}")]),
            fails(&[(PROMPT, "\n{% include 'prompt.jinja' %}")]),
            fails(&[]),
        ].join("\n"), @r#"
        prompt.jinja:2: syntax error: unexpected end of block
        prompt.jinja:3: undefined value: `missing` is undefined; the lens's input fields are resource
        prompt.jinja:1: undefined value: `missing` is undefined; the lens's input fields are resource
        prompt.jinja:1: unknown filter: filter nofilter is unknown
        prompt.jinja:1: unknown method: string has no method named nomethod
        prompt.jinja:1: unknown function: nofunction is unknown
        part:2: undefined value: `missing` is undefined; the lens's input fields are resource
        part:2: syntax error: unknown statement broken
        system.jinja:2: undefined value: `resource` is undefined; this message is the same for all rows, so fields belong into prompt.jinja
        prompt.jinja:2: invalid operation: recursion limit exceeded
        prompt.jinja:0: no such file; a lens has config.json, functions.json, system.jinja and prompt.jinja
        "#);
    }

    #[test]
    fn what_only_this_row_lacks_does_not_condemn_the_template() {
        let (_temp, ready) = templates(&[(PROMPT, "{{ resource.split('|')[1] }}")]);
        let ready = ready.unwrap();
        assert!(ready.try_out().is_ok());
        assert_eq!(ready.render(&["a|b"]).unwrap().prompt, "b");
        assert_eq!(
            said(&ready.render(&["a"]).unwrap_err()),
            "prompt.jinja:1: undefined value: `(...)[1]` is undefined"
        );
    }

    #[test]
    fn a_template_that_loops_for_ever_is_stopped() {
        let nested = "{% for a in range(100000) %}\n{% for b in range(100000) %}{% endfor %}{% endfor %}";
        let (_temp, ready) = templates(&[(PROMPT, nested)]);
        let text = said(&ready.unwrap().try_out().unwrap_err());
        assert_eq!(text, "prompt.jinja:2: stopped after 1000000 steps; does it loop for ever?");
        let recursive = "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}";
        assert!(render(recursive, "a").unwrap_err().problem.contains("recursion"));
    }

    #[test]
    fn a_template_that_repeats_hugely_is_stopped() {
        let text = "x".repeat(1 << 20);
        let looped = render("{% for i in range(40) %}{{ resource }}{% endfor %}", &text).unwrap_err();
        assert_eq!(looped.problem, "stopped after writing 32 MiB; does it repeat itself?");
        let repeated = render("{{ resource * 1000000000 }}", "abc").unwrap_err();
        assert!(repeated.problem.contains("too large"), "{}", repeated.problem);
    }

    #[test]
    fn a_fence_is_six_tildes_unless_a_value_has_as_many() {
        assert_eq!(render("{{ fence }}", "~~~ code ~~~~~").unwrap(), "~~~~~~");
        assert_eq!(render("{{ fence }}", "a ~~~~~~~\n~~").unwrap(), "~~~~~~~~");
    }

    #[test]
    fn a_field_called_fence_wins() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join(SYSTEM), "").unwrap();
        fs::write(temp.path().join(PROMPT), "{{ fence }}").unwrap();
        let folder = Folder::on_disk(temp.path()).unwrap();
        let templates = Templates::compile(&folder, &["fence".to_owned()]).unwrap();
        assert_eq!(templates.render(&["mine"]).unwrap().prompt, "mine");
    }

    proptest::proptest! {
        #[test]
        fn a_fence_occurs_in_none_of_the_values(a in "[~a\n]{0,40}", b in "~{0,30}|\\PC{0,30}") {
            let fence = fence([a.as_str(), b.as_str()].into_iter());
            proptest::prop_assert!(!a.contains(&fence) && !b.contains(&fence));
            proptest::prop_assert!(fence.len() >= MIN_FENCE);
        }
    }
}
