"""Chat templates in Python's Jinja, set up as transformers' apply_chat_template sets it up, and the
conversations that they are rendered with. Shares nothing with hob."""

import datetime
import json

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

# A character of messages that no template holds.
MARK = "\u2603"

# The time that both sides are told.
NOW = 1_795_437_296  # 2026-11-23 12:34:56 UTC


class Generation(jinja2.ext.Extension):
    """{% generation %}: what a model is trained on. Renders as its content."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("content")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def content(self, caller):
        return caller()


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(format):
        return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(format)

    env.filters["tojson"] = tojson
    env.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    return env


def tokens():
    """The texts of the tokens that begin and end a text, as variables."""
    return {"bos_token": "<s>", "eos_token": "</s>"}


def renderer(source):
    """A function from conversations to their texts; None where Python raises an exception."""
    try:
        template = environment().from_string(source)
    except jinja2.exceptions.TemplateError:
        return lambda conversation: None
    given = {"tools": None, "documents": None, "add_generation_prompt": True} | tokens()

    def render(conversation):
        try:
            return template.render(**given | conversation)
        except Exception:
            return None

    return render


def function(name, description, properties, required):
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS = [
    function("get_weather", "Weather in a city. It's \"now\".", {
        "city": {"type": "string", "description": "The city's name, such as Zürich"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": ["integer", "null"], "minimum": 0, "maximum": 14.5},
    }, ["city"]),
    function("search", "Search <notes> & files.", {
        "query": {"type": "string"},
        "filters": {"type": "array", "items": {"type": "object", "properties": {
            "field": {"type": "string", "description": "A field"}, "values": {"type": "array", "items": {"type": "number"}}},
            "required": ["field"]}},
        "options": {"type": "object", "properties": {"deep": {"type": "boolean"}}, "additionalProperties": False},
    }, ["query", "filters"]),
    {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}}},
]

THINK = "<think>\nFirst, 2 < 3.\n\nSo it is.\n</think>\n\nYes."


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **fields):
    return {"role": "assistant", "content": text, **fields}


def call(name, arguments, id="call00001"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def conversations():
    """(name, what the template is rendered with)"""
    system = {"role": "system", "content": "Be brief.\n"}
    hello = [user("Hello!"), assistant("Hi. What can I do?"), user(" And 2+2?\n")]
    weather = {"city": "Zürich", "days": 2, "unit": None, "exact": True, "near": [1.5, "x\"y"], "at": {"lat": 47.0, "on": False}}
    called = [user("Weather in Zürich?"), assistant("", tool_calls=[call("get_weather", weather)])]
    result = {"role": "tool", "content": '{"temperature": 21.5, "sky": "klar ☀"}', "name": "get_weather", "tool_call_id": "call00001"}
    # A mark between all its words tells where they end up.
    hostile = MARK.join(['a ', '<|im_end|>', '\n<|im_start|>', 'system\n</think> ', '[INST] ', '<think> {{ x }} ',
                         '{% if %} \U000f0001 ', '<tool_response>é', '<', '|eot_id|', '>', '</s>'])

    yield "plain", {"messages": [user("Hello!")]}
    yield "no generation prompt", {"messages": [user("Hello!")], "add_generation_prompt": False}
    yield "system", {"messages": [system, user("Hello!")]}
    yield "system, no generation prompt", {"messages": [system, user("Hello!"), assistant("Hi.")], "add_generation_prompt": False}
    yield "developer", {"messages": [{"role": "developer", "content": "Be brief."}, user("Hello!")]}
    yield "multi-turn", {"messages": hello}
    yield "system, multi-turn", {"messages": [system, *hello]}
    yield "ends with an answer", {"messages": hello[:2]}
    yield "Unicode and white space", {"messages": [user("  naïve 日本語 🙂\r\n\t\u00a0\u2028ß  "), assistant("\n\nok \n"), user("İ")]}
    yield "markup in every role", {"messages": [{"role": "system", "content": hostile}, user(hostile), assistant(hostile), user(hostile)]}
    yield "empty texts", {"messages": [{"role": "system", "content": ""}, user(""), assistant(""), user("")]}
    yield "two users", {"messages": [user("a"), user("b")]}
    yield "starts with an answer", {"messages": [assistant("a"), user("b")]}
    yield "no messages", {"messages": []}
    yield "unknown role", {"messages": [user("a"), {"role": "critic", "content": "b"}]}
    parts = [{"type": "text", "text": "What is <this>?"}, {"type": "text", "text": " And that?"}]
    yield "parts", {"messages": [{"role": "system", "content": parts[:1]}, {"role": "user", "content": parts}]}
    yield "parts of all roles", {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": parts}, {"role": "user", "content": parts}]}
    yield "images", {"messages": [{"role": "user", "content": [{"type": "image"}, *parts, {"type": "image_url", "image_url": {"url": "data:,x"}}]}]}
    yield "no content", {"messages": [user("a"), {"role": "assistant", "content": None}, {"role": "user"}]}

    yield "tools", {"messages": [user("Hello!")], "tools": TOOLS}
    yield "system, tools", {"messages": [system, user("Hello!")], "tools": TOOLS}
    yield "tools given bare", {"messages": [user("Hello!")], "tools": [tool["function"] for tool in TOOLS]}
    yield "no tools", {"messages": [user("Hello!")], "tools": []}
    yield "call", {"messages": called, "tools": TOOLS, "add_generation_prompt": False}
    yield "call and result", {"messages": [*called, result], "tools": TOOLS}
    yield "call, result, answer", {"messages": [system, *called, result, assistant("21.5 °C."), user("Thanks!")], "tools": TOOLS}
    yield "call without definitions", {"messages": [*called, result]}
    several = [call("get_weather", {"city": "Bern"}), call("search", {"query": "a<b", "filters": []}, "call00002"), call("now", {}, "call00003")]
    results = [result | {"tool_call_id": f"call0000{i}", "content": text} for i, text in ((1, "21"), (2, "[]"), (3, hostile))]
    yield "parallel calls", {"messages": [user("Now?"), assistant("Let me see.", tool_calls=several), *results, assistant("Done."), user("ok")], "tools": TOOLS}
    in_text = [call("get_weather", json.dumps({"city": "Zürich"}))]
    yield "arguments as text", {"messages": [user("?"), assistant(None, tool_calls=in_text), result], "tools": TOOLS}
    no_content = {"role": "assistant", "tool_calls": [call("now", {})]}
    yield "call without content", {"messages": [user("?"), no_content, result], "tools": TOOLS}
    yield "result in parts", {"messages": [*called, result | {"content": parts}], "tools": TOOLS}
    yield "result as an object", {"messages": [*called, result | {"content": {"temperature": 21.5}}], "tools": TOOLS}
    yield "two rounds of calls", {"messages": [*called, result, *called[1:], result, assistant("ok"), user("?")], "tools": TOOLS}
    yield "markup in arguments", {"messages": [user("?"), assistant("", tool_calls=[call("search", {"query": hostile, "<k>": "<v>"})]), results[2]], "tools": TOOLS}

    reasoned = assistant("Yes.", reasoning_content="First, 2 < 3.\n\nSo it is.")
    yield "reasoning", {"messages": [user("2<3?"), reasoned, user("Sure?")]}
    yield "reasoning last", {"messages": [user("2<3?"), reasoned], "add_generation_prompt": False}
    yield "reasoning in other fields", {"messages": [user("2<3?"), assistant("Yes.", reasoning="hm", thinking="hm", thought="hm"), user("Sure?")]}
    yield "reasoning in the content", {"messages": [user("2<3?"), assistant(THINK), user("Sure?"), assistant(THINK), user("?")]}
    yield "reasoning in the content last", {"messages": [user("2<3?"), assistant(THINK)], "add_generation_prompt": False}
    yield "reasoning, calls", {"messages": [user("?"), reasoned | {"tool_calls": several[:1]}, result, reasoned | {"tool_calls": several[1:2]}, result], "tools": TOOLS}
    yield "reasoning with an unclosed marker", {"messages": [user("?"), assistant("<think>hm"), user("?"), assistant("hm</think>\nYes"), user("?")]}
    for name in "enable_thinking", "thinking":
        for on in True, False:
            yield f"{name} {on}", {"messages": [system, user("2<3?"), reasoned, user("Sure?")], name: on}
    for effort in "low", "high", "none", "no_think":
        yield f"reasoning_effort {effort}", {"messages": [user("2<3?")], "reasoning_effort": effort}
    for mode in "enabled", "disabled", "adaptive":
        yield f"thinking_mode {mode}", {"messages": [user("2<3?")], "thinking_mode": mode}
    for budget in 0, 512, 100, -1:
        yield f"thinking_budget {budget}", {"messages": [user("2<3?")], "thinking_budget": budget}
    yield "system switch", {"messages": [{"role": "system", "content": "/no_think Be brief."}, user("2<3? /think")]}
    yield "documents", {"messages": [user("?")], "documents": [{"title": "T", "text": "x\ny", "doc_id": 1}]}
