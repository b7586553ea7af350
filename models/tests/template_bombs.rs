//! Hostile templates: whatever they do, an error in bounded time and memory, never a panic. Each of
//! these ran for hours, took gigabytes or overflowed the stack in an interpreter without bounds.

use std::collections::BTreeMap;

use hob_models::template::{ChatTemplate, Message, TemplateError};
use proptest::prelude::*;

fn render(source: &str, content: &str) -> Result<usize, TemplateError> {
    let messages = [
        Message::new("system", content),
        Message::new("user", content).with(
            "tool_calls",
            serde_json::json!([{"a": {"b": [1, content]}}]),
        ),
    ];
    let spans =
        ChatTemplate::new(source, "<s>", "</s>")?.render(&messages, true, &BTreeMap::new())?;
    Ok(spans.iter().map(|span| span.text.len()).sum())
}

/// Memory that this process has held at most, in bytes; `None` where the system does not tell.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// A body that doubles `n.x` sixty times.
fn doubling(start: &str, step: &str, end: &str) -> String {
    format!(
        "{{% set n = namespace(x={start}) %}}{{% for i in range(60) %}}{{% set n.x = {step} %}}{{% endfor %}}{end}"
    )
}

fn bombs() -> Vec<String> {
    let nest = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    let mut bombs: Vec<String> = [
        // Loops.
        "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(10**18) %}{% endfor %}",
        "{{ range(0, 10**30) | length }}",
        "{% for a in 'x' * 9999999 %}{% for b in 'x' * 9999999 %}{% endfor %}{% endfor %}",
        // Recursion.
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{% macro f(x) %}{{ f([x, x]) }}{% endmacro %}{{ f(1) }}",
        "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ g() }}",
        "{% macro f() %}{% call f() %}x{% endcall %}{% endmacro %}{{ f() }}",
        "{% for x in [1] recursive %}{{ loop([x, x]) }}{% endfor %}",
        // Sizes that are named.
        "{{ 'x' * 999999999 }}",
        "{{ 'x' * 10**18 }}",
        "{{ 10**18 * 'x' }}",
        "{{ [0] * 999999999 }}",
        "{{ ('x' * 9999 ~ ',') * 99999 }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ '%.999999999f' % 1.0 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '{:>999999999}'.format('x') }}",
        "{{ ('{0}' * 9999).format('x' * 99999) }}",
        "{{ ('%s' * 9999) % (('x' * 99999,) * 9999) }}",
        "{{ 'x'.center(999999999) }}",
        "{{ 'x'.ljust(10**18) }}",
        "{{ 'x'.zfill(999999999) }}",
        "{{ 'x' | center(999999999) }}",
        "{{ 'a\nb' | indent(999999999) }}",
        "{{ ('a\n' * 99999) | indent('x' * 99999) }}",
        "{{ messages | tojson(indent=999999999) }}",
        "{{ messages | tojson(indent='x' * 9999999, separators=('y' * 9999999, 'z' * 9999999)) }}",
        "{{ [1] | batch(999999999, 'x') | list }}",
        "{{ [1] | slice(999999999) | list }}",
        "{{ 10**37 * 10**37 }}",
        "{{ 2**999999999 }}",
        // Growth that compounds.
        "{{ ('x' * 9999).replace('x', 'y' * 99999) }}",
        "{{ ('x' * 9999) | replace('', 'y' * 99999) }}",
        "{{ ('y' * 99999).join(['x'] * 9999) }}",
        "{{ (['x'] * 9999) | join('y' * 99999) }}",
        "{{ ([['x'] * 9999] * 9999) | map('join', 'yy') | join }}",
        "{{ (['<' * 99999] * 99999) | map('e') | map('e') | list | length }}",
        "{% for x in range(99999) %}{{ 'x' * 99999 }}{% endfor %}",
        "{% set x %}{% for x in range(99999) %}{{ messages }}{% endfor %}{% endset %}",
        // Work that is quadratic or worse.
        "{% set l = range(99999) | list %}{% for x in l %}{% if -1 in l %}{% endif %}{% endfor %}",
        "{% set s = 'x' * 999999 %}{% for x in range(99999) %}{% if 'y' in s %}{% endif %}{% endfor %}",
        "{% set s = 'x' * 999999 %}{% for x in range(99999) %}{{ s.split('y') | length }}{% endfor %}",
        "{% set s = 'x' * 999999 %}{% for x in range(99999) %}{{ s | length }}{{ s[5] }}{{ s == s }}{% endfor %}",
        "{% set l = range(99999) | list %}{% for x in l %}{{ l | sort | first }}{% endfor %}",
        "{% set l = range(99999) | list %}{% for x in l %}{{ l[1:] | length }}{% endfor %}",
        "{% for x in range(99999) %}{{ messages | tojson | length }}{% endfor %}{% for x in range(99999) %}{{ messages | tojson | length }}{% endfor %}",
        // Other files, which there are none of.
        "{% include 'x' %}",
        "{% include '/etc/passwd' %}",
        "{% import 'x' as y %}{{ y.z }}",
        "{% from 'x' import y %}{{ y }}",
        "{% extends 'x' %}",
        "{% extends self %}",
        "{% block a %}{{ self.a() }}{% endblock %}",
        // What Python has and no template needs.
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ lipsum(99999) }}",
        "{{ 'x'.expandtabs(999999999) }}",
        "{{ ('\t' * 9999).expandtabs(999999) }}",
        // Numbers beyond all bounds.
        "{{ 9**9**9**9 }}",
        "{{ 1 / 0 }}",
        "{{ 1 // 0 }}",
        "{{ 5 % 0 }}",
        "{{ -170141183460469231731687303715884105728 - 1 }}",
        "{{ range(0, 10, 0) | list }}",
        "{{ [1, 2, 3][::0] }}",
        "{{ 'abc'[::0] }}",
        "{% for x in range(10**9) %}{{ x }}{% endfor %}",
        "{% for x in range(-10**9, 10**9) %}{% endfor %}",
        "{{ range(10**9) | list | length }}",
        "{{ range(10**9) | sum }}",
        "{{ range(10**9) | join }}",
        "{{ 'x'.join(range(10**9) | map('string')) }}",
        // Filters and methods with what they cannot bear.
        "{{ ('x ' * 99999) | wordwrap(1) | wordwrap(1) | replace(' ', 'x' * 99999) }}",
        "{{ ('x' * 99999) | batch(1) | list | batch(1) | list | tojson(indent=99999) }}",
        "{{ ([{'a': 'x' * 9999}] * 9999) | groupby('a') | tojson }}",
        "{{ ({'a': 'x' * 99999} | items | list * 99999) | tojson }}",
        "{{ ([['x' * 99] * 999] * 999) | sum(start=[]) | join }}",
        "{{ messages | map(attribute='content.' ~ 'x.' * 99999) | list }}",
        "{{ strftime_now('%Y' * 9999999) }}",
        "{{ strftime_now('%999999999Y') ~ 'x' * 999999999 }}",
        "{{ ('{:' ~ '9' * 99 ~ '}').format(1) }}",
        "{{ '{0[0][0][0]}'.format([[[1]]]) ~ '{:999999999}'.format(1) }}",
        "{{ '%s' % (('%s' * 99999) % (('x' * 9999,) * 99999)) }}",
        "{{ ('x' * 99999).split('') }}",
        "{{ ('x,' * 99999).split(',') | map('center', 99999) | join }}",
    ]
    .map(str::to_owned)
    .into();
    bombs.extend([
        doubling("'x'", "n.x ~ n.x", "{{ n.x }}"),
        doubling("'x'", "n.x + n.x", "{{ n.x }}"),
        doubling("'xx'", "n.x.replace('x', 'xx')", ""),
        doubling("'xx'", "n.x | replace('x', 'xx')", ""),
        doubling("'xx'", "'%s%s' % (n.x, n.x)", ""),
        doubling("'xx'", "'{}{}'.format(n.x, n.x)", ""),
        doubling("'xx'", "[n.x, n.x] | join", ""),
        doubling("'xx'", "n.x | tojson | tojson ~ n.x", ""),
        doubling("'xx'", "n.x ~ n.x[1:] ~ n.x[::-1]", ""),
        doubling("'\"'", "n.x | tojson", ""),
        doubling("'<'", "(n.x | e) ~ (n.x | e)", ""),
        doubling("'x'", "n.x.join([n.x, n.x, n.x])", ""),
        doubling("'x y'", "n.x.split() | join(n.x)", ""),
        doubling("'ab'", "n.x.center(n.x | length * 2)", ""),
        doubling("3", "n.x * n.x", ""),
        "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}".into(),
        "{% macro f(n, x) %}{% if n %}{{ f(n - 1, x ~ x) }}{% else %}{{ x }}{% endif %}{% endmacro %}{{ f(60, 'x') }}".into(),
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% else %}x{% endif %}{% endmacro %}{{ f(40) }}".into(),
        "{% set ns = namespace() %}{% for i in range(99999) %}{% set ns.x = ns.x | default([]) + [ns.x | default([])] %}{% endfor %}".into(),
        format!("{{% set x = 'x' %}}{}{{{{ x }}}}", "{% set x = x ~ x %}".repeat(60)),
        format!("{{% set x = [1] %}}{}{{{{ x | tojson }}}}", "{% set x = [x, x, x] %}".repeat(60)),
        format!("{{{{ {}'x'{} }}}}", "(".repeat(60), " * 9)".repeat(60)),
        doubling("[1]", "n.x + n.x", ""),
        doubling("[1]", "n.x * 2", ""),
        doubling("[1]", "[n.x, n.x]", "{{ n.x }}"),
        doubling("[1]", "[n.x, n.x]", "{{ n.x ~ '' }}"),
        doubling("[1]", "[n.x, n.x]", "{{ n.x | string }}"),
        doubling("[1]", "[n.x, n.x]", "{{ n.x | tojson }}"),
        doubling("[1]", "[n.x, n.x]", "{{ [n.x] == [n.x] }}"),
        doubling("[1]", "[n.x, n.x]", "{{ n.x in [n.x] }}"),
        doubling("[1]", "[n.x, n.x]", "{{ n.x | sort }}"),
        doubling("[1]", "[n.x, n.x]", "{{ '%s' % n.x }}"),
        doubling("[1]", "(n.x, n.x)", "{{ {n.x: 1} }}"),
        doubling("{}", "{'a': n.x, 'b': n.x}", "{{ n.x }}"),
        doubling("{}", "{'a': n.x, 'b': n.x}", "{{ n.x | tojson(indent=1) }}"),
        // Nesting that the stack would pay for.
        "{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = [n.x] %}{% endfor %}".into(),
        "{% set n = namespace(x={}) %}{% for i in range(99999) %}{% set n.x = {'a': n.x} %}{% endfor %}".into(),
        "{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = n.x | map('list') | list | batch(1) | list %}{% set n.x = [n.x] %}{% endfor %}".into(),
        format!("{{{{ {} }}}}", nest("[", "1", "]", 100_000)),
        format!("{{{{ {} }}}}", nest("(", "1", ")", 100_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(100_000)),
        format!("{{{{ 1{} }}}}", "+1".repeat(200_000)),
        format!("{{{{ 1{} }}}}", " ~ 1".repeat(100_000)),
        format!("{{{{ x{} }}}}", ".a".repeat(200_000)),
        format!("{{{{ x{} }}}}", "[0]".repeat(150_000)),
        format!("{{{{ x{} }}}}", "()".repeat(200_000)),
        format!("{{{{ ''{} }}}}", "|e".repeat(200_000)),
        format!("{{{{ 1{} }}}}", " if 1 else 1".repeat(40_000)),
        nest("{% if x %}", "", "{% endif %}", 20_000),
        nest("{% for x in y %}", "", "{% endfor %}", 14_000),
        nest("{% filter e %}", "", "{% endfilter %}", 14_000),
        format!("{{% if 0 %}}{}{{% endif %}}{{{{ 1 + none }}}}", "{%elif 0%}".repeat(50_000)),
        format!("{{{{ f({}1) }}}}", "1,".repeat(200_000)),
        format!("{{{{ [{}] }}}}", "x,".repeat(200_000)),
        format!("{}{{{{ 1 + none }}}}", "{% set x = [x] %}".repeat(30_000)),
        "{{ ".repeat(100_000),
        "{% raw %}".repeat(50_000),
        "{#".repeat(200_000),
        "\u{0}\u{1f600}{{".to_owned(),
    ]);
    bombs
}

#[test]
fn bombs_are_refused() {
    let bombs = bombs();
    assert!(bombs.len() > 140, "{}", bombs.len());
    let mut rendered = Vec::new();
    for bomb in &bombs {
        let name: String = bomb.chars().take(100).collect();
        // Text that a message brings, and long one.
        for content in ["x", &"<|a|> ".repeat(20_000)] {
            let found = render(bomb, content);
            assert_ne!(found, Err(TemplateError::Defect), "{name}");
            if let Ok(bytes) = found {
                rendered.push(format!("{name}: {bytes} bytes"));
            }
        }
    }
    assert!(rendered.is_empty(), "{rendered:#?}");
    if let Some(peak) = peak_memory() {
        assert!(peak < 1 << 29, "{} MB", peak >> 20);
    }
}

/// Odd, and within the bounds.
#[test]
fn what_is_only_odd_is_rendered() {
    for odd in [
        format!("{{{{ 1{} }}}}", "<1".repeat(4_000)),
        format!("{{{{ 1{} }}}}", " + 1".repeat(4_000)),
        format!("{{{{ {}1{} }}}}", "(".repeat(60), ")".repeat(60)),
        format!("{{% if 0 %}}{}{{% endif %}}", "{%elif 0%}".repeat(10_000)),
        "{{ -10**30 }}{{ 'x' * 99999 }}".to_owned(),
        "{{ 10**38 }}{{ 1e308 * 1e308 }}{{ 2 ** -99999999 ** 9 }}".to_owned(),
        "{{ 'x' | truncate(-10**30) }}{{ ''.__class__ }}".to_owned(),
        "{{ ('ab' * 99999).title().upper().lower().swapcase().replace('a', 'b' * 99999) }}"
            .to_owned(),
        doubling("'a\\n'", "n.x | indent(n.x | length)", ""),
        doubling("1.0e300", "n.x * n.x", "{{ n.x }}"),
    ] {
        assert!(render(&odd, "x").is_ok(), "{odd:.40}");
    }
}

#[test]
fn long_honest_conversations_are_rendered() {
    let source = "{% for m in messages %}{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1] }}\
                  {% else %}<|{{ m.role }}|>{{ m.content | trim }}{% endif %}{% endfor %}";
    let messages: Vec<Message> = (0..4000)
        .map(|i| {
            Message::new(
                if i % 2 == 0 { "user" } else { "assistant" },
                "word ".repeat(100),
            )
        })
        .collect();
    let template = ChatTemplate::new(source, "", "").unwrap();
    assert!(template.render(&messages, true, &BTreeMap::new()).is_ok());
    let long = [Message::new("user", "word </think> ".repeat(1 << 20))];
    assert!(template.render(&long, true, &BTreeMap::new()).is_ok());
}

/// Pieces of templates; put together at random they are mostly malformed, and often not.
fn piece() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "m",
        "m.content",
        "m['role']",
        "messages",
        "1",
        "-1",
        "'x'",
        "none",
        "nothing",
        "[1, m]",
        "{'a': m.content}",
        "n.x",
        "loop",
        "loop.index",
        "range(9)",
        "('a', 1)",
        "1.5",
        "true",
    ]);
    let filter = prop::sample::select(vec![
        "",
        " | trim",
        " | length",
        " | tojson",
        " | tojson(indent=2)",
        " | upper",
        " | list",
        " | string",
        " | first",
        " | join(',')",
        " | default('d')",
        " | int",
        " | sort",
        " | items",
        " | map('upper')",
        " | select",
        ".split()",
        ".strip()",
        ".items()",
        "[1:]",
        "[0]",
        "[::-1]",
        ".get('a')",
        " | replace('x', 'yy')",
        " | indent",
        " | dictsort",
        " is string",
        " | e",
        " | groupby('a')",
        ".format(1)",
        " | batch(2)",
        " | unique",
        " | reverse",
        ".x",
    ]);
    let operator = prop::sample::select(vec![
        " + ",
        " ~ ",
        " * ",
        " == ",
        " in ",
        " < ",
        " and ",
        " or ",
        " % ",
        " // ",
        " if m else ",
        ", ",
    ]);
    let expression = (value.clone(), filter.clone(), operator, value, filter)
        .prop_map(|(a, f, op, b, g)| format!("{a}{f}{op}{b}{g}"));
    prop_oneof![
        expression.clone().prop_map(|e| format!("{{{{ {e} }}}}")),
        expression
            .clone()
            .prop_map(|e| format!("{{% set n.x = {e} %}}")),
        expression
            .clone()
            .prop_map(|e| format!("{{% if {e} %}}y{{% endif %}}")),
        expression
            .clone()
            .prop_map(|e| format!("{{% for q in {e} %}}{{{{ q }}}}{{% endfor %}}")),
        expression.prop_map(|e| format!(
            "{{% macro f(a, b={e}) %}}{{{{ a }}}}{{% endmacro %}}{{{{ f(1) }}}}"
        )),
        prop::sample::select(vec![
            "{%",
            "%}",
            "{{",
            "}}",
            "{#",
            "{% else %}",
            "{% endfor %}",
            "'",
            "\"",
            "-",
            "é<|x|>"
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_template_breaks_the_interpreter(
        pieces in prop::collection::vec(piece(), 0..8),
        content in "[<|>☃a \n{}%'\"]{0,20}",
    ) {
        let source = format!(
            "{{% set n = namespace(x=1) %}}{{% for m in messages %}}{}{{% endfor %}}",
            pieces.concat()
        );
        prop_assert_ne!(render(&source, &content), Err(TemplateError::Defect));
    }

    #[test]
    fn no_text_is_a_template_that_breaks_it(source in "[{%}#a-c '\"|().\\[\\]=+~\\-\n]{0,60}") {
        prop_assert_ne!(render(&source, "x"), Err(TemplateError::Defect));
    }

    /// What a template does to a message never makes its characters the template's.
    #[test]
    fn characters_of_messages_are_never_trusted(
        pieces in prop::collection::vec(piece(), 1..4),
        content in "☃?[<|☃A ]{0,12}",
    ) {
        let source = format!(
            "{{% set n = namespace(x=1) %}}{{% for m in messages %}}{}{{% endfor %}}",
            pieces.concat()
        );
        prop_assume!(!source.contains('☃'));
        let messages = [Message::new("user", content.clone()).with("a", serde_json::json!({"☃k<": [content]}))];
        let template = ChatTemplate::new(&source, "", "");
        if let Ok(spans) = template.and_then(|t| t.render(&messages, true, &BTreeMap::new())) {
            let trusted: String = spans.iter().filter(|s| s.trusted).map(|s| s.text.as_str()).collect();
            prop_assert!(!trusted.contains('☃'), "{}", source);
        }
    }
}
