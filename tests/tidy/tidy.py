#!/usr/bin/env python3
"""Holds the tree to the rules of the house that no compiler knows.

    tests/tidy/tidy.py [DIRECTORY]

Prints one line for each violation, `file:line: rule: what`, and exits with 1 when there is any.
"""
import re
import subprocess
import sys
from pathlib import Path

# Arrows point down only: what each folder may include besides itself.
ARROWS = {
    "base": set(),
    "wire": {"base"},
    "ifaces": {"wire", "base"},
    "db": {"ifaces", "wire", "base"},
    "initiator": {"db", "ifaces", "wire", "base"},
    "exports": {"wire", "base"},
    "mpathd": {"exports", "initiator", "db", "ifaces", "wire", "base"},
    "target": {"exports", "ifaces", "wire", "base"},
}
PRODUCT = set(ARROWS)

# Headers that belong to one place: pattern, folders that may include it.
OWNED_HEADERS = [
    (re.compile(r"sqlite3\.h"), {"db"}),
    (re.compile(r"libudev\.h"), {"ifaces"}),
    (re.compile(r"linux/(rt)?netlink\.h|netlink/(?!genl).*"), {"ifaces"}),
    (re.compile(r"netlink/genl/.*"), {"ifaces", "exports"}),
    (re.compile(r"iscsi/.*"), {"initiator"}),
    (re.compile(r"histedit\.h|editline/.*"), {"mpathd"}),
]

# The logic ring: all of wire/, files named after what they decide, and headers that call themselves pure.
LOGIC_NAMES = re.compile(r"_(policy|fsm|step|codec|selector|rules)\.(cpp|hpp)$")
LOGIC_MARK = re.compile(r"\bPure\.")
LOGIC_BANNED_INCLUDE = re.compile(
    r"boost/.*|thread|mutex|condition_variable|future|sys/(socket|epoll|timerfd)\.h|unistd\.h|"
    r"base/(log|shard|system_clock|event|sleep|task_group|offload|within|run_on|unix_socket|control_server)\.hpp")

TIME = re.compile(r"\b(steady_clock|high_resolution_clock)\s*::\s*now\s*\(|\bthis_thread\s*::\s*sleep_|"
                  r"(?<![\w:.>])(?:::)?(?:usleep|nanosleep|clock_nanosleep)\s*\(|(?<![\w:.>_])::sleep\s*\(")
LEFTOVER = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.\-/])/(?:work|home/[a-z]\w*|root)/\w")

CPP = (".cpp", ".hpp")
TABLESS = CPP + (".py", ".cmake", ".sh", "CMakeLists.txt")
BINARY = (".bin", ".png", ".raw", ".img", ".sqlite", ".gz")


def blank(text):
    """The C++ text with comments and the insides of literals as blanks, so that positions stay."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(?P<mark>[^\s()\\]{0,16})\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])*\'', re.S)

    def replace(match):
        found = match.group(0)
        spaces = re.sub(r"[^\n]", " ", found)
        if found.startswith(("//", "/*")):
            return spaces
        return '"' + spaces[1:-1] + '"' if len(found) >= 2 else spaces
    return pattern.sub(replace, text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def matching(text, position):
    """The position of the bracket that closes the one at `position`, or the end."""
    pairs = {"(": ")", "{": "}", "[": "]"}
    depth = 0
    opening, closing = text[position], pairs[text[position]]
    for at in range(position, len(text)):
        if text[at] == opening:
            depth += 1
        elif text[at] == closing:
            depth -= 1
            if depth == 0:
                return at
    return len(text)


def opening(text, position):
    """The position of the bracket that opens the one closed at `position`, or -1."""
    pairs = {")": "(", "}": "{", "]": "["}
    depth = 0
    closing, start = text[position], pairs[text[position]]
    for at in range(position, -1, -1):
        if text[at] == closing:
            depth += 1
        elif text[at] == start:
            depth -= 1
            if depth == 0:
                return at
    return -1


def has_statement(text, start, end):
    """A ; between the braces, not counting those inside further brackets: a block, not a list of values."""
    at = start + 1
    while at < end:
        if text[at] in "({[":
            at = matching(text, at)
        elif text[at] == ";":
            return True
        at += 1
    return False


KEYWORD_BEFORE_PAREN = re.compile(r"\b(if|while|for|switch|catch|constexpr)\s*$")


def full_expression(text, position):
    """Start and end of the full expression around a co_await."""
    start = position
    while start > 0:
        letter = text[start - 1]
        if letter == ";":
            break
        if letter == "}":
            begin = opening(text, start - 1)
            if begin < 0 or has_statement(text, begin, start - 1) or text[begin:start].strip("{} \n") == "":
                break
            start = begin
            continue
        if letter in ")]":
            begin = opening(text, start - 1)
            # `if (...) co_await x;`: the condition is another expression.
            if letter == ")" and KEYWORD_BEFORE_PAREN.search(text[:max(begin, 0)]):
                break
            start = max(begin, 0)
            continue
        if letter == "(" and KEYWORD_BEFORE_PAREN.search(text[:start - 1]):
            break
        if letter == "{" and has_statement(text, start - 1, matching(text, start - 1)):
            break
        start -= 1
    end = position
    while end < len(text):
        letter = text[end]
        if letter == ";":
            break
        if letter in "({[":
            end = matching(text, end)
        elif letter == ")" and KEYWORD_BEFORE_PAREN.search(text[:max(opening(text, end), 0)]):
            break
        elif letter == "}" and opening(text, end) < start:
            break
        end += 1
    return start, end


LAMBDA = re.compile(r"\[(?P<captures>[^\[\]]*)\]\s*(?:\([^()]*(?:\([^()]*\)[^()]*)*\))?\s*(?:mutable|noexcept|->\s*[\w:<>,&* ]+|\s)*$")


def awaits(text):
    """Full expressions with a co_await that make a braced temporary or a capturing lambda, or have it behind ?: which
    g++ 12 destroys twice: (position, what)."""
    seen = set()
    for match in re.finditer(r"\bco_await\b", text):
        start, end = full_expression(text, match.start())
        if (start, end) in seen:
            continue
        seen.add((start, end))
        if re.search(r"\?[^?;{}]*\bco_await\b", text[start:end]):
            yield match.start(), "a co_await behind ?: choose what to await on the line above"
        at = start
        while at < end:
            if text[at] == "[":
                # A lambda is judged by its captures, and its body is another function.
                close = matching(text, at)
                brace = text.find("{", close)
                if brace >= 0 and brace < end and LAMBDA.search(text[at:brace]):
                    if text[at + 1:close].strip():
                        yield match.start(), "a capturing lambda in an expression with co_await: name it on the line above"
                    at = matching(text, brace)
            elif text[at] == "{":
                yield match.start(), "a braced temporary in an expression with co_await: name it on the line above"
                at = matching(text, at)
            at += 1


COROUTINE = re.compile(r"\bawaitable<[^;{}]*\)[^;{}()]*\{|->\s*[\w:]*awaitable<[^;{}()]*>\s*\{")
CONDITION = re.compile(r"\b(?:if|while|switch)\s*\(")
DECLARATION = re.compile(r"(?:^|[;{}(])\s*(?!co_|(?:return|throw|delete|else|case|goto|using)\b)"
                         r"(?:(?:const|static|constexpr)\s+)*[A-Za-z_][\w:]*(?:<[^;{}]*>)?[&*]*\s+[&*]*(?:[A-Za-z_]\w*\s*(?:[=;{(:]|$)|\[)")


def bare_conditions(text):
    """Coroutines without a variable that await in a condition. g++ 12 puts what the condition makes before the frame's own
    first field, and from then on writes it in two places: positions."""
    for match in COROUTINE.finditer(text):
        begin = match.end() - 1
        body = text[begin:matching(text, begin)]
        if DECLARATION.search(body):
            continue
        for condition in CONDITION.finditer(body):
            if "co_await" in body[condition.end():matching(body, condition.end() - 1)]:
                yield begin + condition.start()


def includes(text):
    for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', text, re.M):
        yield line_of(text, match.start()), match.group(1) == '"', match.group(2)


def is_logic(path, text, pure):
    folder = path.parts[0]
    if path.name.endswith("_main.cpp") or folder not in PRODUCT:
        return False
    return folder == "wire" or bool(LOGIC_NAMES.search(path.name)) or str(path.with_suffix("")) in pure


def may_include(path, folder):
    """Whether a file may include from `folder`."""
    top = path.parts[0]
    if top in PRODUCT:
        return folder == top or folder in ARROWS[top]
    if top == "tests" and len(path.parts) > 2 and path.parts[1] in PRODUCT:
        part = path.parts[1]
        return folder in ("tests", "bench", part) or folder in ARROWS[part]
    return True


def check_cpp(path, text, pure):
    top = path.parts[0]
    owner = path.parts[1] if top == "tests" and len(path.parts) > 2 else top
    code = blank(text)
    if path.suffix == ".hpp" and not re.search(r"^#pragma once$", text, re.M):
        yield 1, "pragma-once", "the header has no #pragma once"
    logic = is_logic(path, text, pure)
    for line, own, name in includes(text):
        if own and name.startswith("../"):
            yield line, "include-root", f"\"{name}\" does not begin at the root of the project"
        elif own and "/" not in name and top != "tests":
            yield line, "include-root", f"\"{name}\" does not begin at the root of the project"
        elif own and "/" in name and not may_include(path, name.split("/")[0]):
            yield line, "arrow", f"{owner}/ must not include \"{name}\""
        if not own:
            for pattern, owners in OWNED_HEADERS:
                if pattern.fullmatch(name) and owner in PRODUCT and owner not in owners:
                    yield line, "owned-header", f"<{name}> belongs to {', '.join(sorted(owners))}/"
        if logic and LOGIC_BANNED_INCLUDE.fullmatch(name):
            yield line, "logic", f"{name} in a file of the logic ring"
    # Tests run real peers, which live in real time; there the rule is a reviewer's.
    if str(path) != "base/clock.cpp" and top in PRODUCT:
        for match in TIME.finditer(code):
            yield line_of(code, match.start()), "time", f"{match.group(0).strip()}: time is handed in, see base/clock.hpp"
    for position, what in awaits(code):
        yield line_of(code, position), "co-await", what
    for position in bare_conditions(code):
        yield line_of(code, position), "co-await", "a condition with co_await where the coroutine has no variable: give it one"


def check_file(path, text, pure):
    name = path.name
    if name.endswith(CPP):
        yield from check_cpp(path, text, pure)
    if name.endswith(TABLESS):
        # What stands inside a literal is somebody's output, not our indentation.
        for number, line in enumerate((blank(text) if name.endswith(CPP) else text).split("\n"), 1):
            if "\t" in line:
                yield number, "tab", "a tab"
    for match in LEFTOVER.finditer(text):
        yield line_of(text, match.start()), "leftover", match.group(0)
    for match in MACHINE_PATH.finditer(text):
        yield line_of(text, match.start()), "machine-path", f"{match.group(0)}...: a path of somebody's machine"


def tracked(root):
    """The files of the project, relative: what git tracks or would, or everything where there is no git."""
    try:
        out = subprocess.run(["git", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"], check=True,
                             capture_output=True).stdout
        return [Path(name) for name in sorted(set(out.decode().split("\0"))) if name and (root / name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        return [path.relative_to(root) for path in sorted(root.rglob("*"))
                if path.is_file() and "build" not in path.relative_to(root).parts]


def check_tree(root):
    """Yields `file:line: rule: what`."""
    texts = {}
    for path in tracked(root):
        if path.name.endswith(BINARY) or "corpus" in path.parts:
            continue
        try:
            texts[path] = (root / path).read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
    # Only the comment that opens a header speaks for it and its source.
    pure = {str(path.with_suffix("")) for path, text in texts.items()
            if path.suffix == ".hpp" and LOGIC_MARK.search(re.split(r"^(?!//)", text, maxsplit=1, flags=re.M)[0])}
    for path, text in texts.items():
        for line, rule, what in check_file(path, text, pure):
            yield f"{path}:{line}: {rule}: {what}"


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    violations = list(check_tree(root))
    for line in violations:
        print(line)
    if not violations:
        print("tidy: nothing to complain about")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
