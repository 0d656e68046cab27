//! From the expression that a user wrote to the one that is compiled.
//!
//! Names become `v0`, `v1`, …, constants `c0`, `c1`, …, and comparisons calls of `compare0`, `compare1`, …; all else is
//! printed as it was parsed, in brackets. So nothing of the user's text but names of filters, tests, methods and their
//! arguments is in what is compiled. Spans of the parser are not used: those of operators begin before their left side.

use minijinja::Environment;
use minijinja::machinery::ast::{BinOp, BinOpKind, CallArg, CallType, CompareOpKind, Expr, UnaryOpKind};
use minijinja::machinery::{Token, parse_expr, tokenize};
use minijinja::value::Value;

use super::super::error::plain;
use super::super::names::{Kind, Name, Names, ROW};
use super::compare::{Op, compare, kind, show};
use super::{known, not_a_bool, register, slip, unlike};

/// The most names and operators in a condition: what is nested is parsed, printed and freed by recursion.
const MAX_PARTS: usize = 600;

/// How deeply a condition may be nested.
const MAX_DEPTH: usize = 60;

/// What is compiled.
pub(super) struct Rewritten {
    pub(super) code: String,
    pub(super) uses: Vec<Name>,
}

/// Rewrites an expression, and puts its constants and comparisons into the environment.
pub(super) fn rewrite(
    source: &str,
    names: Names<'_>,
    environment: &mut Environment<'static>,
) -> Result<Rewritten, String> {
    let mut parts = 0;
    for token in tokenize(source, true, minijinja::syntax::SyntaxConfig::default()) {
        let (token, _) = token.map_err(|error| slip::misread(source, names, &error))?;
        let is_constant = matches!(token, Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Float(_));
        parts += usize::from(!is_constant && !matches!(token, Token::Comma));
        if parts > MAX_PARTS {
            return Err(format!("has more than {MAX_PARTS} names and operators"));
        }
    }
    if parts == 0 && source.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    let parsed = parse_expr(source).map_err(|error| slip::misread(source, names, &error))?;
    let mut rewriter = Rewriter { names, environment, uses: Vec::new(), comparisons: 0, constants: 0 };
    let piece = rewriter.piece(&parsed, 0).map_err(|problem| slip::with_odd_name(source, names, problem))?;
    match piece.kind {
        None | Some(Kind::Bool) => Ok(Rewritten { code: piece.code, uses: rewriter.uses }),
        Some(other) => Err(not_a_bool(other, None)),
    }
}

/// A part of the expression, and what is known of it before any row.
struct Piece {
    code: String,
    kind: Option<Kind>,
    /// Its value, if it is a constant.
    value: Option<Value>,
    /// The names it is made of.
    names: Vec<usize>,
    /// Whether it is nothing but that name.
    is_name: bool,
}

impl Piece {
    fn of(code: String, kind: Option<Kind>, parts: &[&Piece]) -> Self {
        let mut names = Vec::new();
        for part in parts {
            names.extend(part.names.iter().copied().filter(|name| !names.contains(name)).collect::<Vec<_>>());
        }
        Self { code, kind, value: None, names, is_name: false }
    }
}

struct Rewriter<'n, 'e> {
    names: Names<'n>,
    environment: &'e mut Environment<'static>,
    uses: Vec<Name>,
    comparisons: usize,
    constants: usize,
}

impl Rewriter<'_, '_> {
    fn piece(&mut self, expr: &Expr<'_>, depth: usize) -> Result<Piece, String> {
        if depth > MAX_DEPTH {
            return Err("is nested too deeply".to_owned());
        }
        let depth = depth + 1;
        if let Some(path) = column(expr)? {
            let name = self.names.column(&path)?;
            return Ok(self.name(name));
        }
        match expr {
            Expr::Var(var) if var.id == ROW => {
                Err(format!("`{ROW}` is all columns: name one, `{ROW}.<column>`"))
            }
            Expr::Var(var) => {
                let name = self.names.score(var.id)?;
                Ok(self.name(name))
            }
            Expr::Const(constant) => Ok(self.constant(constant.value.clone())),
            Expr::UnaryOp(unary) => {
                if let (UnaryOpKind::Neg, Expr::Const(_), Some(value)) =
                    (&unary.op, &unary.expr, expr.as_const())
                {
                    return Ok(self.constant(value));
                }
                let inner = self.piece(&unary.expr, depth)?;
                Ok(match unary.op {
                    UnaryOpKind::Not => {
                        Piece::of(format!("(not {})", inner.code), Some(Kind::Bool), &[&inner])
                    }
                    UnaryOpKind::Neg => {
                        Piece::of(format!("(-{})", inner.code), Some(Kind::Number), &[&inner])
                    }
                })
            }
            Expr::BinOp(binary) => self.binary(binary, depth),
            Expr::Compare(chain) => {
                let mut sides = vec![self.piece(&chain.expr, depth)?];
                for next in &chain.ops {
                    sides.push(self.piece(&next.expr, depth)?);
                }
                self.compared(chain.ops.iter().map(|next| operator(next.op)).collect(), &sides)
            }
            Expr::IfExpr(choice) => {
                let condition = self.piece(&choice.test_expr, depth)?;
                let yes = self.piece(&choice.true_expr, depth)?;
                let Some(no) = &choice.false_expr else {
                    return Err("`if` needs an `else`".to_owned());
                };
                let no = self.piece(no, depth)?;
                let kind = yes.kind.filter(|kind| no.kind == Some(*kind));
                let code = format!("({} if {} else {})", yes.code, condition.code, no.code);
                Ok(Piece::of(code, kind, &[&condition, &yes, &no]))
            }
            Expr::List(list) => self.list(list.items.iter(), depth),
            // As a list, so that it compares with the lists of rows.
            Expr::Tuple(tuple) => self.list(tuple.items.iter(), depth),
            Expr::Map(map) => {
                let keys = self.pieces(map.keys.iter(), depth)?;
                let values = self.pieces(map.values.iter(), depth)?;
                let pairs =
                    keys.iter().zip(&values).map(|(key, value)| format!("{}: {}", key.code, value.code));
                let code = format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "));
                let parts: Vec<&Piece> = keys.iter().chain(&values).collect();
                Ok(Piece::of(code, Some(Kind::Object), &parts))
            }
            _ => self.applied(expr, depth),
        }
    }

    /// What is done to one value: parts of it, filters, tests, methods.
    fn applied(&mut self, expr: &Expr<'_>, depth: usize) -> Result<Piece, String> {
        match expr {
            Expr::Slice(slice) => {
                let inner = self.piece(&slice.expr, depth)?;
                let mut bounds = Vec::new();
                for bound in [&slice.start, &slice.stop, &slice.step] {
                    bounds.push(bound.as_ref().map(|bound| self.piece(bound, depth)).transpose()?);
                }
                let code = |at: usize| bounds[at].as_ref().map_or("", |bound| bound.code.as_str());
                let code = format!("({}[{}:{}:{}])", inner.code, code(0), code(1), code(2));
                let parts: Vec<&Piece> = [&inner].into_iter().chain(bounds.iter().flatten()).collect();
                Ok(Piece::of(code, None, &parts))
            }
            Expr::GetAttr(get) => {
                let inner = self.piece(&get.expr, depth)?;
                Ok(Piece::of(format!("({}.{})", inner.code, get.name), None, &[&inner]))
            }
            Expr::GetItem(get) => {
                let inner = self.piece(&get.expr, depth)?;
                let key = self.piece(&get.subscript_expr, depth)?;
                Ok(Piece::of(format!("({}[{}])", inner.code, key.code), None, &[&inner, &key]))
            }
            Expr::Filter(filter) => {
                let Some(inner) = &filter.expr else { return Err("a filter needs a value".to_owned()) };
                known::filter(self.environment, filter.name)?;
                let inner = self.piece(inner, depth)?;
                // With a second argument it also stands for what is empty.
                if inner.is_name && matches!(filter.name, "default" | "d") && filter.args.len() < 2 {
                    return Err(self.never_matters(&inner, "|default"));
                }
                let arguments = self.arguments(&filter.args, depth)?;
                let code = format!("({}|{}({}))", inner.code, filter.name, arguments.code);
                Ok(Piece::of(code, known::gives(filter.name), &[&inner, &arguments]))
            }
            Expr::Test(test) => {
                let inner = self.piece(&test.expr, depth)?;
                if let (Some(op), [CallArg::Pos(right)]) = (Op::of_test(test.name), &test.args[..]) {
                    let right = self.piece(right, depth)?;
                    return self.compared(vec![op], &[inner, right]);
                }
                if inner.is_name && matches!(test.name, "none" | "defined" | "undefined") {
                    return Err(self.never_matters(&inner, &format!("is {}", test.name)));
                }
                known::test(self.environment, test.name)?;
                let arguments = self.arguments(&test.args, depth)?;
                let code = format!("({} is {}({}))", inner.code, test.name, arguments.code);
                Ok(Piece::of(code, Some(Kind::Bool), &[&inner, &arguments]))
            }
            Expr::Call(call) => match call.identify_call() {
                CallType::Method(object, name) => {
                    known::method(self.environment, name)?;
                    let inner = self.piece(object, depth)?;
                    let arguments = self.arguments(&call.args, depth)?;
                    let code = format!("({}.{name}({}))", inner.code, arguments.code);
                    Ok(Piece::of(code, None, &[&inner, &arguments]))
                }
                _ => Err("there are no functions in conditions; there are filters, as in `row.text|length`"
                    .to_owned()),
            },
            _ => Err("has a part that is not known here".to_owned()),
        }
    }

    fn binary(&mut self, binary: &BinOp<'_>, depth: usize) -> Result<Piece, String> {
        let comparison = match binary.op {
            BinOpKind::Eq => Op::Eq,
            BinOpKind::Ne => Op::Ne,
            BinOpKind::Lt => Op::Lt,
            BinOpKind::Lte => Op::Le,
            BinOpKind::Gt => Op::Gt,
            BinOpKind::Gte => Op::Ge,
            BinOpKind::In => Op::In,
            BinOpKind::ScAnd | BinOpKind::ScOr => return self.joint(binary, depth),
            _ => {
                let left = self.piece(&binary.left, depth)?;
                let right = self.piece(&binary.right, depth)?;
                let (sign, kind) = match binary.op {
                    BinOpKind::Add => ("+", left.kind.filter(|kind| right.kind == Some(*kind))),
                    BinOpKind::Sub => ("-", Some(Kind::Number)),
                    BinOpKind::Mul => ("*", left.kind.filter(|kind| right.kind == Some(*kind))),
                    BinOpKind::Div => ("/", Some(Kind::Number)),
                    BinOpKind::FloorDiv => ("//", Some(Kind::Number)),
                    BinOpKind::Rem => ("%", Some(Kind::Number)),
                    BinOpKind::Pow => ("**", Some(Kind::Number)),
                    _ => ("~", Some(Kind::Text)),
                };
                return Ok(Piece::of(
                    format!("({} {sign} {})", left.code, right.code),
                    kind,
                    &[&left, &right],
                ));
            }
        };
        let sides = [self.piece(&binary.left, depth)?, self.piece(&binary.right, depth)?];
        self.compared(vec![comparison], &sides)
    }

    /// `and` and `or`, however many in a row, at one depth.
    fn joint(&mut self, binary: &BinOp<'_>, depth: usize) -> Result<Piece, String> {
        let is_and = matches!(binary.op, BinOpKind::ScAnd);
        let mut sides = vec![&binary.right];
        let mut rest = &binary.left;
        while let Expr::BinOp(inner) = rest
            && matches!((&inner.op, is_and), (BinOpKind::ScAnd, true) | (BinOpKind::ScOr, false))
        {
            sides.push(&inner.right);
            rest = &inner.left;
        }
        sides.push(rest);
        let sides = self.pieces(sides.into_iter().rev(), depth)?;
        let word = if is_and { " and " } else { " or " };
        let code: Vec<&str> = sides.iter().map(|side| side.code.as_str()).collect();
        let all_bool = sides.iter().all(|side| side.kind == Some(Kind::Bool));
        let parts: Vec<&Piece> = sides.iter().collect();
        Ok(Piece::of(format!("({})", code.join(word)), all_bool.then_some(Kind::Bool), &parts))
    }

    /// A comparison of two sides, or of more in a row.
    fn compared(&mut self, ops: Vec<Op>, sides: &[Piece]) -> Result<Piece, String> {
        let texts: Vec<String> = sides.iter().map(|side| self.text(side)).collect();
        for (at, op) in ops.iter().enumerate() {
            let (left, right) = (&sides[at], &sides[at + 1]);
            let pair = [texts[at].as_str(), texts[at + 1].as_str()];
            // What is known of a kind stands for all its values.
            let stand_in = |piece: &Piece| piece.value.clone().or_else(|| Some(known::example(piece.kind?)));
            if let (Some(one), Some(other)) = (stand_in(left), stand_in(right)) {
                // What the columns hold that are lists is not known.
                let is_known = |piece: &Piece| piece.value.is_some() || piece.kind != Some(Kind::List);
                if let Err(fault) = compare(*op, &one, &other)
                    && (is_known(left) && is_known(right))
                {
                    return Err(unlike(*op, fault, pair, [left.value.as_ref(), right.value.as_ref()]));
                }
            }
            self.on_the_scale(*op, left, right)?;
            self.on_the_scale(*op, right, left)?;
        }
        let name = format!("compare{}", self.comparisons);
        self.comparisons += 1;
        let code = format!("{name}({})", joined(sides));
        register(self.environment, name, ops, texts);
        Ok(Piece::of(code, Some(Kind::Bool), &sides.iter().collect::<Vec<_>>()))
    }

    /// A lens's score that is compared with a number outside of its scale is a slip: it would always be, or never be.
    fn on_the_scale(&self, op: Op, score: &Piece, number: &Piece) -> Result<(), String> {
        let [name] = score.names[..] else { return Ok(()) };
        let (true, Name::Score(lens)) = (score.is_name, &self.uses[name]) else { return Ok(()) };
        let scores = &self.names.scores[*lens];
        let number = number.value.as_ref().and_then(|value| f64::try_from(value.clone()).ok());
        match (scores.scale, number) {
            (Some((low, high)), Some(number)) if !(low..=high).contains(&number) => Err(format!(
                "`{}` is from {low} to {high}, and is compared (`{}`) with {number}",
                plain(&scores.lens),
                op.text()
            )),
            _ => Ok(()),
        }
    }

    /// What is asked whether a value is there is only asked of rows in which it is.
    fn never_matters(&self, name: &Piece, asked: &str) -> String {
        format!(
            "`{asked}` can never matter: a row in which {} is missing or null is dropped before it is asked",
            self.text(name)
        )
    }

    /// How a side of a comparison is named in messages.
    fn text(&self, piece: &Piece) -> String {
        if let Some(value) = &piece.value {
            return show(value);
        }
        let names: Vec<String> =
            piece.names.iter().map(|name| format!("`{}`", self.names.text(&self.uses[*name]))).collect();
        match (piece.is_name, names.is_empty()) {
            (true, _) => names.join(""),
            (false, false) => format!("an expression of {}", names.join(", ")),
            (false, true) => "an expression".to_owned(),
        }
    }

    fn name(&mut self, name: Name) -> Piece {
        let kind = self.names.kind(&name);
        let at = self.uses.iter().position(|used| *used == name).unwrap_or_else(|| {
            self.uses.push(name);
            self.uses.len() - 1
        });
        Piece { code: format!("v{at}"), kind, value: None, names: vec![at], is_name: true }
    }

    fn constant(&mut self, value: Value) -> Piece {
        let code = format!("c{}", self.constants);
        self.constants += 1;
        self.environment.add_global(code.clone(), value.clone());
        Piece { code, kind: kind(&value), value: Some(value), names: Vec::new(), is_name: false }
    }

    /// A list: of constants it is a constant, so that it is not built anew for every row.
    fn list<'x, 's: 'x>(
        &mut self,
        items: impl Iterator<Item = &'x Expr<'s>>,
        depth: usize,
    ) -> Result<Piece, String> {
        let items = self.pieces(items, depth)?;
        if let Some(values) = items.iter().map(|item| item.value.clone()).collect::<Option<Vec<_>>>() {
            return Ok(self.constant(Value::from(values)));
        }
        let parts: Vec<&Piece> = items.iter().collect();
        Ok(Piece::of(format!("[{}]", joined(&items)), Some(Kind::List), &parts))
    }

    fn pieces<'x, 's: 'x>(
        &mut self,
        exprs: impl Iterator<Item = &'x Expr<'s>>,
        depth: usize,
    ) -> Result<Vec<Piece>, String> {
        exprs.map(|expr| self.piece(expr, depth)).collect()
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>], depth: usize) -> Result<Piece, String> {
        let mut pieces = Vec::new();
        let mut codes = Vec::new();
        for argument in arguments {
            let (prefix, expr) = match argument {
                CallArg::Pos(expr) => (String::new(), expr),
                CallArg::Kwarg(name, expr) => (format!("{name}="), expr),
                CallArg::PosSplat(_) | CallArg::KwargSplat(_) => {
                    return Err("arguments with `*` are not taken".to_owned());
                }
            };
            let piece = self.piece(expr, depth)?;
            codes.push(format!("{prefix}{}", piece.code));
            pieces.push(piece);
        }
        Ok(Piece::of(codes.join(", "), None, &pieces.iter().collect::<Vec<_>>()))
    }
}

/// The path of a column that is written as in an expression, `row['any name']`.
pub(in crate::filter) fn path(source: &str) -> Option<String> {
    column(&parse_expr(source).ok()?).ok()?
}

/// The path of a column, if that is what this is: `row`, and keys and positions that are written out.
fn column(expr: &Expr<'_>) -> Result<Option<String>, String> {
    let mut keys = Vec::new();
    let mut rest = expr;
    loop {
        let key = match rest {
            Expr::GetAttr(get) => {
                rest = &get.expr;
                get.name.to_owned()
            }
            Expr::GetItem(get) => {
                rest = &get.expr;
                match &get.subscript_expr {
                    Expr::Const(key) if key.value.as_str().is_some() || key.value.as_usize().is_some() => {
                        key.value.to_string()
                    }
                    _ if matches!(rest, Expr::Var(var) if var.id == ROW) => {
                        return Err(format!("`{ROW}[…]` takes the name of a column, in quotes"));
                    }
                    _ => return Ok(None),
                }
            }
            Expr::Var(var) if var.id == ROW && !keys.is_empty() => break,
            _ => return Ok(None),
        };
        keys.push(key);
    }
    keys.reverse();
    Ok(Some(keys.join(".")))
}

fn operator(op: CompareOpKind) -> Op {
    match op {
        CompareOpKind::Eq => Op::Eq,
        CompareOpKind::Ne => Op::Ne,
        CompareOpKind::Lt => Op::Lt,
        CompareOpKind::Lte => Op::Le,
        CompareOpKind::Gt => Op::Gt,
        CompareOpKind::Gte => Op::Ge,
        CompareOpKind::In => Op::In,
        CompareOpKind::NotIn => Op::NotIn,
    }
}

fn joined(items: &[Piece]) -> String {
    items.iter().map(|item| item.code.as_str()).collect::<Vec<_>>().join(", ")
}
