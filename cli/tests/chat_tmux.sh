#!/usr/bin/env bash
# `hob chat` as a person uses it: driven by keys in a terminal (tmux), through all its commands, a
# resize, a paste, Ctrl-C and wide characters. Prints the screens, and fails at the first that lacks what
# it should show. Answers are the same on every machine: temperature 0, and hob's numbers are defined.
#
#     chat_tmux.sh HOB MODEL     HOB: the program; MODEL: the file of SmolLM2-135M-Instruct (Q4_1)
set -euo pipefail
HOB=$(realpath "$1") MODEL=$(realpath "$2")
DIR=$(mktemp -d)
# A server of its own, without the user's settings.
T() { env -u TMUX tmux -u -S "$DIR/socket" -f /dev/null "$@"; }
trap 'T kill-server 2>/dev/null || true; rm -rf "$DIR"' EXIT
export LC_ALL=C.UTF-8 HOB_HOME=$DIR/home HOME=$DIR
unset NO_COLOR CLICOLOR CLICOLOR_FORCE VISUAL
cp -s "$MODEL" "$DIR/model.gguf"
cd "$DIR"

# An editor that puts a line in place of the text.
cat >editor <<'SCRIPT'
#!/bin/sh
stat -c 'the file is %a in a folder of %a' "$1" >"$HOME/edited"
stat -c 'its folder is %a' "$(dirname "$1")" >>"$HOME/edited"
dirname "$1" >>"$HOME/edited"
echo "Name the days of the week." >"$1"
SCRIPT
chmod +x editor
export EDITOR="$DIR/editor"

screen() { T capture-pane -p; }
# The screen as one line, as if nothing were wrapped.
flat() { screen | tr -s '\n ' ' '; }

shot() {
    echo "--- $1"
    screen | sed -e 's/[[:space:]]*$//' | cat -s
}

fail() {
    shot "FAILED: $1"
    exit 1
}

# Waits until the screen shows a text, which lines may break.
expect() {
    for _ in $(seq 150); do
        if flat | grep -qF -- "$1"; then return; fi
        sleep 0.1
    done
    fail "no \"$1\" on the screen"
}

# Waits for an empty prompt on the last line that is not empty.
prompt() {
    for _ in $(seq 300); do
        if [ "$(screen | grep -v '^ *$' | tail -1)" = '>>>' ]; then return; fi
        sleep 0.1
    done
    fail "no prompt"
}

say() {
    T send-keys -l -- "$1"
    T send-keys Enter
    sleep 0.2
    prompt
}

# A new terminal of that many columns and lines: start COLUMNS LINES ARGUMENTS [ENVIRONMENT].
start() {
    T kill-server 2>/dev/null || true
    sleep 0.3
    T new-session -d -x "$1" -y "$2" "${4:-} $HOB chat model.gguf --temperature 0 $3; echo exit code \$?; exec sleep 1000"
    prompt
}

start 70 24 "--max-tokens 60"
expect "/help shows the commands"
say "Name the three primary colors."
expect "Blue"
shot "an answer"

say "/help"
expect "/params [NAME VALUE]"
shot "/help"

say "/info"
expect "never written unless you /save it"
shot "/info"

# Commands: completed, mistyped, and with wrong arguments.
T send-keys "/re" Tab Tab
expect "/reset /retry"
T send-keys C-c
sleep 0.2
T send-keys "/sys" Tab "Answer in French." Enter
expect "the system prompt is set"
say "/system"
expect "Answer in French."
say "/hlep"
expect "did you mean /help?"
say "/params temprature 1"
expect "there is no parameter"
say "/params temperature hot"
expect "error"
say "/think off"
expect "no switch for thinking"
say "/think hide"
say "/think"
expect "thoughts are hidden"
say "/stats"
say "/params"
expect "when_full"
shot "commands: completion, mistakes, /params"

say "What is the capital of France?"
expect "Paris"
expect "tokens at"
say "/undo"
expect "taken back: What is the capital of France?"
say "/system clear"
expect "there is no system prompt any more"
shot "/stats, /undo, /system"

say "/retry"
expect "the temperature is 0"
say "/params temperature 0.9"
say "/retry"
say "/params temperature=0 seed=3"
say "/edit"
expect "Monday"
grep -qx "its folder is 700" edited || fail "the editor's folder is open to others"
[ ! -e "$(tail -1 edited)" ] || fail "the editor's file is still there"
shot "/retry, /edit"

say "/save chat.json"
expect "NOT encrypted"
[ "$(stat -c %a chat.json)" = 600 ] || fail "others can read the file"
grep -q "Not encrypted" chat.json || fail "the file does not say so"
say "/reset"
expect "messages forgotten"
say "/save chat.json"
expect "replaces it"
say "/save no/such/folder/x.json"
expect "there is no folder"
say "/load nothing.json"
expect "cannot read"
say "/load chat.json"
expect "Monday"
say "/retry"
expect "kept from before"
shot "/save, /reset, /load"

# A file that would set the terminal's title, erase it and move the cursor.
printf '[{"role":"user","content":"a\\u001b]0;OWNED\\u0007b"},{"role":"assistant","content":"x\\u001b[2J\\u001b[Hy\\u009b31mz"}]' >hostile.json
say "/load hostile.json"
expect "2 messages from hostile.json"
[ "$(T display-message -p '#{pane_title}')" != OWNED ] || fail "the title was changed"
expect $'x\ufffd[2J\ufffd[Hy\ufffd31mz'
shot "escapes of a loaded file"

# Markdown and wide characters: wrapped between words and characters, looks for marks, tables left alone.
# (The name has a space: completion writes a backslash before it.)
python3 - <<'WIDE'
import json
answer = """## 見出し heading

Some **strong words** and `inline code` in a paragraph that is longer than the line.

1. 日本語の文章は単語の間に空白がありません。だから文字の間で折り返します。それだけです。
2. Emoji 🙂 👩‍🚀 and flags 🇫🇷 have the width that they take.

| a table | is left | as it is |
|---|---|---|

```python
print("code is left as it is, however long the line may be, and so it runs over the edge")
```"""
said = [{"role": "user", "content": "Wide?"}, {"role": "assistant", "content": answer}]
json.dump(said, open("wide text.json", "w"))
WIDE
T send-keys "/load wide" Tab
expect "/load wide\\ text.json"
T send-keys Enter
expect "2 messages from wide text.json"
prompt
shot "Markdown and wide characters"
T capture-pane -p -e >looks
for look in '1m.*strong words' '36m`inline code' '1m.*heading' '35m.*1\.'; do
    grep -q "$look" looks || fail "no $look"
done
T capture-pane -p -J | python3 -c '
import sys, unicodedata
width = lambda s: sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in s if c != "\u200d")
long = [l for l in sys.stdin.read().splitlines() if width(l) > 70 and not l.startswith("print")]
sys.exit(bool(long) and f"too long: {long}")' || fail "a line is too long"
say "/reset"

# Lines that belong together: pasted, in a block, with a backslash, with Alt-Enter. The cursor goes up
# into a pasted text with wide characters, and what is typed there lands there.
printf 'Repeat this:\n日本語のテキスト 🙂👩‍🚀\n\tindented \\\nlast' >paste
T load-buffer paste
T paste-buffer -p
expect "last"
T send-keys Up Up End "!"
expect "👩‍🚀!"
shot "a paste of four lines, changed in the second"
T send-keys C-c
sleep 0.2
T send-keys -l '"""'
T send-keys Enter "Say hello." Enter
sleep 0.3
T send-keys -l 'And goodbye."""'
T send-keys Enter
sleep 0.3
prompt
T send-keys -l 'What is \'
T send-keys Enter "two and two?" Enter
sleep 0.3
prompt
T send-keys "One" M-Enter "Two" Enter
sleep 0.3
prompt
say "/save lines.json"
python3 - <<'CHECK'
import json
said = [m["content"] for m in json.load(open("lines.json"))["messages"] if m["role"] == "user"]
assert said == ["Say hello.\nAnd goodbye.", "What is \ntwo and two?", "One\nTwo"], said
CHECK
shot "messages of several lines"

say "/params max_tokens unlimited"
# Ctrl-C stops an answer, and not the program; at an empty prompt it asks, then leaves.
say "/reset"
T send-keys -l "Write a very long story about a lighthouse keeper and the sea."
T send-keys Enter
expect "in the year 1850"
T send-keys C-c
expect "what there is of the answer stays"
prompt
say "/info"
expect "messages 2"
shot "Ctrl-C in an answer"

# Keys typed while an answer is written wait for the next prompt.
say "/reset"
T send-keys -l "Write a very long story about a mountain. Use 10 words."
T send-keys Enter
expect "The mountain"
T send-keys -l "typed ahead"
expect ">>> typed ahead"
T send-keys C-c
sleep 0.3

# A resize, in the middle of an answer and at the prompt.
say "/reset"
T send-keys -l "Write a very long story about a river."
T send-keys Enter
expect "life-affirming"
T resize-window -x 40 -y 24
sleep 0.5
T send-keys C-c
expect "stopped"
prompt
# -J joins what the terminal wrapped by itself, as it does with the lines of before.
T capture-pane -p -J | grep -v '^ *$' | tail -9 | awk 'length($0) > 40 { exit 1 }' ||
    fail "lines are longer than the resized terminal"
shot "a resize to 40 columns"
T send-keys -l "a line that is longer than forty columns of this terminal"
T resize-window -x 70 -y 24
sleep 0.5
expect "a line that is longer than forty columns of this terminal"
T send-keys C-c
sleep 0.3

# Answers into a pipe, messages from the terminal: no prompt and no escape goes into the pipe.
T send-keys "/exit" Enter
expect "exit code 0"
start 70 24 "--max-tokens 60 | tee piped"
say "Name the three primary colors."
expect "Blue"
T send-keys C-d
expect "exit code 0"
grep -q '^Red (R)$' piped || fail "the answer is not in the pipe"
! grep -qP '\x1b|>>>|Name the' piped || fail "there is more than answers in the pipe"

# A full context says so; while an answer is written, too.
start 70 24 "--verbose"
say "/params context 120"
say "/reset"
say "Write a very long story about a river and its fish, please."
expect "the context of 120 tokens is full"
say "And then?"
expect "/params when_full drop-oldest"
say "/params when_full drop-oldest max_tokens"
expect "when_full must be stop or drop-oldest"
say "/params when_full=drop-oldest max_tokens=20"
say "And then?"
expect "no longer sees the oldest 2 messages"
say "/params max_tokens=150"
say "Write a very long story about a fox."
expect "tokens are forgotten"
shot "a full context"

T send-keys C-c
expect "Ctrl-C again leaves"
T send-keys C-c
expect "exit code 0"

# Without colours, and without a terminal that knows any.
start 70 24 "--color never --max-tokens 40"
say "Write a heading in Markdown, then a list."
if T capture-pane -p -e | grep -q $'\x1b'; then fail "there are colours"; fi
T send-keys C-d
expect "exit code 0"
start 70 24 "--max-tokens 40" "env TERM=dumb"
say "Name the three primary colors."
expect "Blue"
if T capture-pane -p -e | grep -q $'\x1b'; then fail "there are colours"; fi
T send-keys "/exit" Enter
expect "exit code 0"
shot "TERM=dumb"

# From a pipe: the same answers, and nothing but answers.
printf 'Name the three primary colors.\n/save piped.json\n' | "$HOB" chat model.gguf --temperature 0 --max-tokens 40 >piped 2>/dev/null
grep -q Blue piped
python3 - <<'CHECK'
import json
answer = json.load(open("piped.json"))["messages"][1]["content"]
assert open("piped").read() == answer + "\n", answer
CHECK
# A conversation in one process or taken up by another: the same answer.
printf 'Name the three primary colors.\nWhich is the first?\n' | "$HOB" chat model.gguf --temperature 0 --max-tokens 40 >whole
printf 'Which is the first?\n' | "$HOB" chat model.gguf --temperature 0 --max-tokens 40 --load piped.json 2>/dev/null >parts
[ "$(tail -n "$(wc -l <parts)" whole)" = "$(cat parts)" ] || fail "another answer after /load"
if printf 'Hello\n/nonsense\nHello\n' | "$HOB" chat model.gguf --max-tokens 40 >/dev/null 2>error; then
    fail "a script's mistake is not an error"
fi
grep -q "line 2 of standard input" error
echo "--- all screens as they should be"
