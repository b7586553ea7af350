//! From a template's syntax tree to one that asks Python: operators, subscripts, attributes, literals
//! and loops become calls of filters whose names no template can write (`=add`). What Jinja defines
//! itself stays: control flow, scopes, macros, filters and tests.

use minijinja::machinery::Span;
use minijinja::machinery::ast::{self, CallArg, Expr, Spanned, Stmt};
use minijinja::value::Value;
use minijinja::{Error, ErrorKind};

/// Most nodes of a rewritten template. The largest real one has some 6,000.
const MAX_NODES: usize = 1 << 20;

/// Rewrites a template.
///
/// # Errors
/// It is too large: chains of comparisons can grow by rewriting.
pub(crate) fn rewrite<'a>(template: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
    Rewriter { nodes: 0 }.stmt(template)
}

const ALONE: &str = "a chat template cannot include, import or extend others";

/// The line of an error that this module found.
#[derive(Debug, thiserror::Error)]
#[error("in line {0}")]
pub(crate) struct Line(pub(crate) usize);

pub(crate) fn malformed<T>(span: Span, why: &'static str) -> Result<T, Error> {
    let line = Line(span.start_line.into());
    Err(Error::new(ErrorKind::SyntaxError, why).with_source(line))
}

struct Rewriter {
    nodes: usize,
}

fn filter<'a>(name: &'static str, of: Expr<'a>, args: Vec<Expr<'a>>, span: Span) -> Expr<'a> {
    Expr::Filter(Spanned::new(
        ast::Filter {
            name,
            expr: Some(of),
            args: args.into_iter().map(CallArg::Pos).collect(),
        },
        span,
    ))
}

/// Whether several names are assigned to.
fn is_list(target: &Expr<'_>) -> bool {
    matches!(target, Expr::List(_) | Expr::Tuple(_))
}

fn constant<'a>(value: impl Into<Value>, span: Span) -> Expr<'a> {
    let value = value.into();
    Expr::Const(Spanned::new(ast::Const { value }, span))
}

impl Rewriter {
    fn count(&mut self, span: Span) -> Result<(), Error> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return malformed(span, "the template is too large");
        }
        Ok(())
    }

    fn body<'a>(&mut self, body: &[Stmt<'a>]) -> Result<Vec<Stmt<'a>>, Error> {
        body.iter().map(|stmt| self.stmt(stmt)).collect()
    }

    fn exprs<'a>(&mut self, exprs: &[Expr<'a>]) -> Result<Vec<Expr<'a>>, Error> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    fn option<'a>(&mut self, expr: &Option<Expr<'a>>) -> Result<Option<Expr<'a>>, Error> {
        expr.as_ref().map(|expr| self.expr(expr)).transpose()
    }

    fn stmt<'a>(&mut self, stmt: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
        macro_rules! node {
            ($variant:ident, $old:ident, $new:expr) => {{
                self.count($old.span())?;
                Stmt::$variant(Spanned::new($new, $old.span()))
            }};
        }
        Ok(match stmt {
            Stmt::Template(s) => node!(
                Template,
                s,
                ast::Template {
                    children: self.body(&s.children)?
                }
            ),
            Stmt::EmitExpr(s) => node!(
                EmitExpr,
                s,
                ast::EmitExpr {
                    expr: self.expr(&s.expr)?
                }
            ),
            Stmt::EmitRaw(s) => node!(EmitRaw, s, ast::EmitRaw { raw: s.raw }),
            Stmt::ForLoop(s) => node!(
                ForLoop,
                s,
                ast::ForLoop {
                    target: self.target(&s.target)?,
                    iter: {
                        let name = if is_list(&s.target) {
                            "=iter-unpack"
                        } else {
                            "=iter"
                        };
                        filter(name, self.expr(&s.iter)?, vec![], s.iter.span())
                    },
                    filter_expr: self.option(&s.filter_expr)?,
                    recursive: s.recursive,
                    body: self.body(&s.body)?,
                    else_body: self.body(&s.else_body)?,
                }
            ),
            Stmt::IfCond(s) => node!(
                IfCond,
                s,
                ast::IfCond {
                    expr: self.expr(&s.expr)?,
                    true_body: self.body(&s.true_body)?,
                    false_body: self.body(&s.false_body)?,
                }
            ),
            Stmt::WithBlock(s) => {
                let assign = |(target, expr): &(Expr<'a>, Expr<'a>)| {
                    Ok((self.target(target)?, self.expr(expr)?))
                };
                let assignments = s.assignments.iter().map(assign);
                let assignments = assignments.collect::<Result<_, Error>>()?;
                node!(
                    WithBlock,
                    s,
                    ast::WithBlock {
                        assignments,
                        body: self.body(&s.body)?
                    }
                )
            }
            Stmt::Set(s) => node!(
                Set,
                s,
                ast::Set {
                    target: self.target(&s.target)?,
                    expr: match self.expr(&s.expr)? {
                        expr if is_list(&s.target) => filter("=unpack", expr, vec![], s.span()),
                        expr => expr,
                    }
                }
            ),
            Stmt::SetBlock(s) => node!(
                SetBlock,
                s,
                ast::SetBlock {
                    target: self.target(&s.target)?,
                    filter: self.option(&s.filter)?,
                    body: self.body(&s.body)?,
                }
            ),
            Stmt::FilterBlock(s) => node!(
                FilterBlock,
                s,
                ast::FilterBlock {
                    filter: self.expr(&s.filter)?,
                    filter_span: s.filter_span,
                    body: self.body(&s.body)?,
                }
            ),
            Stmt::Block(s) => node!(
                Block,
                s,
                ast::Block {
                    name: s.name,
                    required: s.required,
                    body: self.body(&s.body)?
                }
            ),
            Stmt::Macro(s) => Stmt::Macro(self.macro_(s)?),
            Stmt::CallBlock(s) => node!(
                CallBlock,
                s,
                ast::CallBlock {
                    call: self.call(&s.call)?,
                    call_expr_span: s.call_expr_span,
                    macro_decl: self.macro_(&s.macro_decl)?,
                }
            ),
            Stmt::Continue(s) => node!(Continue, s, ast::Continue),
            Stmt::Break(s) => node!(Break, s, ast::Break),
            Stmt::Do(s) => node!(
                Do,
                s,
                ast::Do {
                    call: self.call(&s.call)?
                }
            ),
            Stmt::AutoEscape(s) => {
                let why =
                    "chat templates are text: HTML cannot be escaped by itself (`autoescape`)";
                return malformed(s.span(), why);
            }
            // There is one template and nothing to import.
            Stmt::Extends(s) => return malformed(s.span(), ALONE),
            Stmt::Include(s) => return malformed(s.span(), ALONE),
            Stmt::Import(s) => return malformed(s.span(), ALONE),
            Stmt::FromImport(s) => return malformed(s.span(), ALONE),
        })
    }

    fn macro_<'a>(
        &mut self,
        old: &Spanned<ast::Macro<'a>>,
    ) -> Result<Spanned<ast::Macro<'a>>, Error> {
        self.count(old.span())?;
        let args = old.args.iter().map(|arg| self.target(arg));
        let args = args.collect::<Result<_, Error>>()?;
        // Defaults may name earlier arguments: they are set in the body, from left to right.
        let mut body = Vec::new();
        let with_default = old.args.len().saturating_sub(old.defaults.len());
        for (arg, default) in old.args.iter().skip(with_default).zip(&old.defaults) {
            let span = arg.span();
            let is_missing = ast::Test {
                name: "undefined",
                expr: self.target(arg)?,
                args: Vec::new(),
            };
            let set = ast::Set {
                target: self.target(arg)?,
                expr: self.expr(default)?,
            };
            body.push(Stmt::IfCond(Spanned::new(
                ast::IfCond {
                    expr: Expr::Test(Spanned::new(is_missing, span)),
                    true_body: vec![Stmt::Set(Spanned::new(set, span))],
                    false_body: Vec::new(),
                },
                span,
            )));
        }
        body.extend(self.body(&old.body)?);
        let new = ast::Macro {
            name: old.name,
            args,
            defaults: Vec::new(),
            body,
        };
        Ok(Spanned::new(new, old.span()))
    }

    fn call<'a>(&mut self, old: &Spanned<ast::Call<'a>>) -> Result<Spanned<ast::Call<'a>>, Error> {
        self.count(old.span())?;
        // What is called stays a name or a method, which Jinja treats in ways of their own.
        let callee = match &old.expr {
            Expr::Var(var) => Expr::Var(Spanned::new(ast::Var { id: var.id }, var.span())),
            Expr::GetAttr(attr) => Expr::GetAttr(Spanned::new(
                ast::GetAttr {
                    expr: self.expr(&attr.expr)?,
                    name: attr.name,
                },
                attr.span(),
            )),
            other => self.expr(other)?,
        };
        let args = self.args(&old.args)?;
        Ok(Spanned::new(ast::Call { expr: callee, args }, old.span()))
    }

    fn args<'a>(&mut self, args: &[CallArg<'a>]) -> Result<Vec<CallArg<'a>>, Error> {
        let arg = |arg: &CallArg<'a>| {
            Ok(match arg {
                CallArg::Pos(expr) => CallArg::Pos(self.expr(expr)?),
                CallArg::Kwarg(name, expr) => CallArg::Kwarg(name, self.expr(expr)?),
                CallArg::PosSplat(expr) => CallArg::PosSplat(self.expr(expr)?),
                CallArg::KwargSplat(expr) => CallArg::KwargSplat(self.expr(expr)?),
            })
        };
        args.iter().map(arg).collect()
    }

    /// What is assigned to stays as it is.
    fn target<'a>(&mut self, target: &Expr<'a>) -> Result<Expr<'a>, Error> {
        self.count(target.span())?;
        Ok(match target {
            Expr::Var(var) => Expr::Var(Spanned::new(ast::Var { id: var.id }, var.span())),
            Expr::GetAttr(attr) => Expr::GetAttr(Spanned::new(
                ast::GetAttr {
                    expr: self.expr(&attr.expr)?,
                    name: attr.name,
                },
                attr.span(),
            )),
            Expr::List(list) => {
                let items = list.items.iter().map(|item| self.target(item));
                let items = items.collect::<Result<_, Error>>()?;
                Expr::List(Spanned::new(ast::List { items }, list.span()))
            }
            Expr::Tuple(tuple) => {
                let items = tuple.items.iter().map(|item| self.target(item));
                let items = items.collect::<Result<_, Error>>()?;
                Expr::Tuple(Spanned::new(ast::Tuple { items }, tuple.span()))
            }
            other => self.expr(other)?,
        })
    }

    fn expr<'a>(&mut self, expr: &Expr<'a>) -> Result<Expr<'a>, Error> {
        let span = expr.span();
        self.count(span)?;
        Ok(match expr {
            Expr::Var(var) => Expr::Var(Spanned::new(ast::Var { id: var.id }, span)),
            Expr::Const(c) => constant(c.value.clone(), span),
            Expr::Slice(s) => {
                let mut bound = |bound: &Option<Expr<'a>>| match bound {
                    Some(bound) => self.expr(bound),
                    None => Ok(constant((), span)),
                };
                let bounds = vec![bound(&s.start)?, bound(&s.stop)?, bound(&s.step)?];
                filter("=slice", self.expr(&s.expr)?, bounds, span)
            }
            Expr::UnaryOp(op) => match op.op {
                ast::UnaryOpKind::Not => Expr::UnaryOp(Spanned::new(
                    ast::UnaryOp {
                        op: ast::UnaryOpKind::Not,
                        expr: self.expr(&op.expr)?,
                    },
                    span,
                )),
                ast::UnaryOpKind::Neg => filter("=neg", self.expr(&op.expr)?, vec![], span),
            },
            Expr::BinOp(op) => {
                let (left, right) = (self.expr(&op.left)?, self.expr(&op.right)?);
                match binary(op.op) {
                    Some(name) => filter(name, left, vec![right], span),
                    None => Expr::BinOp(Spanned::new(
                        ast::BinOp {
                            op: op.op,
                            left,
                            right,
                        },
                        span,
                    )),
                }
            }
            Expr::Compare(chain) => self.chain(chain, span)?,
            Expr::IfExpr(i) => Expr::IfExpr(Spanned::new(
                ast::IfExpr {
                    test_expr: self.expr(&i.test_expr)?,
                    true_expr: self.expr(&i.true_expr)?,
                    false_expr: self.option(&i.false_expr)?,
                },
                span,
            )),
            Expr::Filter(f) => Expr::Filter(Spanned::new(
                ast::Filter {
                    name: f.name,
                    expr: self.option(&f.expr)?,
                    args: self.args(&f.args)?,
                },
                span,
            )),
            Expr::Test(t) => Expr::Test(Spanned::new(
                ast::Test {
                    name: t.name,
                    expr: self.expr(&t.expr)?,
                    args: self.args(&t.args)?,
                },
                span,
            )),
            Expr::GetAttr(attr) => {
                let name = constant(attr.name, span);
                filter("=attr", self.expr(&attr.expr)?, vec![name], span)
            }
            Expr::GetItem(item) => {
                let key = self.expr(&item.subscript_expr)?;
                filter("=item", self.expr(&item.expr)?, vec![key], span)
            }
            Expr::Call(call) => Expr::Call(self.call(call)?),
            Expr::List(list) => {
                let items = self.exprs(&list.items)?;
                let native = Expr::List(Spanned::new(ast::List { items }, span));
                filter("=list", native, vec![], span)
            }
            Expr::Tuple(tuple) => {
                let items = self.exprs(&tuple.items)?;
                let native = Expr::List(Spanned::new(ast::List { items }, span));
                filter("=tuple", native, vec![], span)
            }
            Expr::Map(map) => {
                let mut items = Vec::new();
                for (key, value) in map.keys.iter().zip(&map.values) {
                    items.push(self.expr(key)?);
                    items.push(self.expr(value)?);
                }
                let native = Expr::List(Spanned::new(ast::List { items }, span));
                filter("=dict", native, vec![], span)
            }
        })
    }

    /// `a < b < c` is `a < b and b < c`.
    fn chain<'a>(
        &mut self,
        chain: &Spanned<ast::Compare<'a>>,
        span: Span,
    ) -> Result<Expr<'a>, Error> {
        let mut left = &chain.expr;
        let mut all: Option<Expr<'a>> = None;
        for step in &chain.ops {
            let (name, is_negated) = comparison(step.op);
            let mut one = filter(name, self.expr(left)?, vec![self.expr(&step.expr)?], span);
            if is_negated {
                one = Expr::UnaryOp(Spanned::new(
                    ast::UnaryOp {
                        op: ast::UnaryOpKind::Not,
                        expr: one,
                    },
                    span,
                ));
            }
            all = Some(match all {
                None => one,
                Some(before) => Expr::BinOp(Spanned::new(
                    ast::BinOp {
                        op: ast::BinOpKind::ScAnd,
                        left: before,
                        right: one,
                    },
                    span,
                )),
            });
            left = &step.expr;
        }
        match all {
            Some(all) => Ok(all),
            None => self.expr(&chain.expr),
        }
    }
}

/// The filter of an operator; `None` for those that decide what is evaluated.
fn binary(op: ast::BinOpKind) -> Option<&'static str> {
    use ast::BinOpKind as Op;
    Some(match op {
        Op::Eq => "=eq",
        Op::Ne => "=ne",
        Op::Lt => "=lt",
        Op::Lte => "=le",
        Op::Gt => "=gt",
        Op::Gte => "=ge",
        Op::In => "=in",
        Op::Add => "=add",
        Op::Sub => "=sub",
        Op::Mul => "=mul",
        Op::Div => "=div",
        Op::FloorDiv => "=floordiv",
        Op::Rem => "=mod",
        Op::Pow => "=pow",
        Op::Concat => "=concat",
        Op::ScAnd | Op::ScOr => return None,
    })
}

/// The filter of a comparison, and whether its answer is negated.
fn comparison(op: ast::CompareOpKind) -> (&'static str, bool) {
    use ast::CompareOpKind as Op;
    match op {
        Op::Eq => ("=eq", false),
        Op::Ne => ("=ne", false),
        Op::Lt => ("=lt", false),
        Op::Lte => ("=le", false),
        Op::Gt => ("=gt", false),
        Op::Gte => ("=ge", false),
        Op::In => ("=in", false),
        Op::NotIn => ("=in", true),
    }
}
