"""Random texts for tokenizers, the same on every machine and with every Python.

In:  how many, and a seed
Out: texts of words, code, scripts, digits, emoji, combining marks, white space, control characters, names
     of special tokens and, rarely, any code point at all
"""

MASK = (1 << 64) - 1

WORDS = """the of and to in is that for it was on are as with his they at be this from have or by one had not but
what all were when we there can an your which their said if do will each about how up out them then she many some
so these would other into has more her two like him see time could no make than first been its who now people my
made over did down only way find use may water long little very after words called just where most know Hello
World don't I'll we've you're he's it'd CAN'T They'RE L'État naïve café résumé Zürich Ångström señor coöperate
München Straße œuvre fjörd tokenization internationalization antidisestablishmentarianism GPT4All iPhone
camelCase snake_case SCREAMING_CASE kebab-case""".split()
SCRIPTS = ["abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "абвгдежзийклмнопрстуфхцчшщъыьэюя", "АБВГДЕЖЗ",
           "αβγδεζηθικλμνξοπρστυφχψω", "ΑΒΓΔΕ", "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长", "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほ",
           "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホ", "가나다라마바사아자차카타파하한국어안녕하세요", "ابتثجحخدذرزسشصضطظعغفقكلمنهوي", "אבגדהוזחטיכלמנסעפצקרשת",
           "अआइईउऊएऐओऔकखगघचछजझटठडढणतथदधनपफबभमयरलवशषसह", "ािीुूृेैोौ्ं", "กขคงจฉชซญดตถทธนบปผพฟมยรลวสหอ", "ะาิีึืุูเแโใไ่้",
           "აბგდევზთიკლმ", "ԱԲԳԴԵԶ", "অআইঈউকখগঘ", "தமிழ்அஆஇஈ", "កខគឃងចឆ", "ကခဂဃင", "አበገደሀ", "ЄІЇҐёўѓќ", "ăâđêôơưạảấầẩẫậ"]
MARKS = "\u0300\u0301\u0302\u0303\u0308\u030a\u0327\u0328\u0338\u20d0\u20dd\u0e34\u093f\u0947\u05b0\u064b"
DIGITS = ["0123456789", "0123456789", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "²³¹½¼¾", "ⅠⅡⅢⅣ①②③", "０１２３４５"]
EMOJI = ["😀", "😂", "🦙", "❤️", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪", "🏳️‍🌈", "1️⃣", "✅", "🤷‍♀️", "🚀", "☃", "©", "™"]
SPACES = [" ", "  ", "   ", "    ", "        ", "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r\n", " \n", "\n ", " \t ", "\u00a0", "\u3000",
          "\u2003", "\u2009", "\u200b", "\u0085", "\u2028", "\x0b", "\x0c", "\ufeff"]
SIGNS = list(".,;:!?-_/\\()[]{}<>|@#$%^&*+=~`\"'") + ["...", "!!", "->", "=>", "==", "!=", "://", "--", "**", "«", "»", "“", "”", "’", "…",
                                                    "、", "。", "，", "！", "？", "：", "（", "）", "「", "」", "¿", "¡", "€", "£", "°", "µ", "÷", "№", "─", "█", "▁", "☐", "→", "∑", "≤"]
CONTROLS = "\x00\x01\x02\x07\x08\x0e\x1b\x1c\x1f\x7f\u0080\u009f\u00ad\u200c\u200d\u200e\u202e\u2060\ufffd\ufffe\ue000"
SPECIALS = ["<s>", "</s>", "<unk>", "<pad>", "<mask>", "[MASK]", "[CLS]", "[gMASK]", "[UNK]", "[PAD]", "<|endoftext|>", "<|padding|>",
            "<|startofpiece|>", "<|endofpiece|>", "<|LDWANG|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|begin_of_text|>",
            "<|start_header_id|>", "<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<think>", "</think>", "<|channel|>",
            "<|message|>", "<|start|>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<0x0A>", "<unused7>", "<|", "|>", "<", ">"]
CODE = ["def f(x):\n    return x**2\n", "for (int i = 0; i < n; ++i) {", "\treturn NULL;\n}", "let mut v: Vec<u8> = vec![];", "SELECT * FROM t WHERE id=42;",
        "<div class=\"a\">&nbsp;</div>", "https://example.org/a?b=c&d=%20#e", "x = {'a': [1, 2.5e-3, 0xFF]}", "#include <stdio.h>\r\n", "user@host:~$ ls -la",
        "/* comment */", "// TODO: fix", "\"\\u00e9\\n\"", "2024-01-31T23:59:59Z", "$1,234,567.89", "v1.2.3-rc.4+build5", "\\frac{a}{b}", "| a | b |\n|---|---|\n"]


class Rng:
    """SplitMix64."""

    def __init__(self, seed):
        self.state = seed & MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
        return z ^ (z >> 31)

    def below(self, n):
        return self.next() % n

    def pick(self, items):
        return items[self.below(len(items))]


def part(rng):
    kind = rng.below(20)
    if kind < 6:
        return rng.pick(WORDS) + rng.pick([" ", " ", " ", ", ", ". ", "", "\n"])
    if kind < 9:
        script = rng.pick(SCRIPTS)
        return "".join(rng.pick(script) for _ in range(1 + rng.below(8))) + rng.pick(["", " ", " "])
    if kind < 11:
        digits = rng.pick(DIGITS)
        return "".join(rng.pick(digits) for _ in range(1 + rng.below(9)))
    if kind == 11:
        return rng.pick(EMOJI)
    if kind == 12:
        return rng.pick(rng.pick(SCRIPTS)) + "".join(rng.pick(MARKS) for _ in range(1 + rng.below(3)))
    if kind < 15:
        return "".join(rng.pick(SPACES) for _ in range(1 + rng.below(3)))
    if kind == 15:
        return "".join(rng.pick(SIGNS) for _ in range(1 + rng.below(4)))
    if kind == 16:
        return rng.pick(CODE)
    if kind == 17:
        return rng.pick(SPECIALS) + rng.pick(["", "", " ", "\n"])
    if kind == 18:
        return rng.pick(CONTROLS) if rng.below(2) else rng.pick(SIGNS)
    code = rng.below(0x110000) if rng.below(4) == 0 else rng.below(0x3000)
    return chr(code) if not 0xD800 <= code < 0xE000 else "\ufffd"


def texts(n, seed):
    rng = Rng(seed)
    return ["".join(part(rng) for _ in range(1 + rng.below(16))) for _ in range(n)]
