#!/usr/bin/env python3
"""Holds the manual pages to groff's and mandoc's rules, and to what the programs say themselves.

    docs.py lint SOURCE             every page of man/: no complaint of groff or mandoc, the sections a reader looks for
    docs.py programs SOURCE BUILD   every installed program: a page, and in it every long option that --help prints

Exits with 1 when something is wrong, with 77 when a tool is missing (it says which).
"""
import re
import shutil
import subprocess
import sys
from pathlib import Path

SKIPPED = 77
SECTIONS = {
    "8": ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "OPTIONS", "FILES", "EXIT STATUS", "SEE ALSO"],
    "1": ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "OPTIONS", "EXIT STATUS", "SEE ALSO"],
    "5": ["NAME", "DESCRIPTION", "SEE ALSO"],
    "7": ["NAME", "DESCRIPTION", "SEE ALSO"],
}
PROGRAM = re.compile(r"^\s*mpath_program\(\s*(\S+)([^)]*)\)", re.M)
LONG_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")


def pages(source):
    return sorted(path for path in (source / "man").iterdir() if path.suffix[1:] in SECTIONS)


def plain(page):
    """The text of a page without its markup."""
    text = page.read_text()
    text = re.sub(r"\\f(\[[^\]]*\]|\(..|.)", "", text)
    return text.replace("\\-", "-").replace("\\(hy", "-").replace("\\&", "").replace('"', "")


def headings(page):
    found = re.findall(r'^\.S[Hh]\s+"?([^"\n]+?)"?\s*$', page.read_text(), re.M)
    return [heading.upper() for heading in found]


def missing_sections(page):
    have = headings(page)
    return [section for section in SECTIONS[page.suffix[1:]] if not any(each == section or each == section + "S" for each in have)]


def undocumented(help_text, page_text):
    """Long options of a help text that a page does not name."""
    known = set(LONG_OPTION.findall(page_text))
    return sorted(set(LONG_OPTION.findall(help_text)) - known)


def installed_programs(source):
    names = []
    for file in sorted(source.glob("*/CMakeLists.txt")):
        for name, rest in PROGRAM.findall(re.sub(r"#[^\n]*", "", file.read_text())):
            if "NO_INSTALL" not in rest:
                names.append(name)
    return names


def complaints_of(command):
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]


def lint(source):
    for tool in ("groff", "mandoc"):
        if shutil.which(tool) is None:
            print(f"SKIPPED: {tool} is missing: scripts/install-deps check")
            return SKIPPED
    wrong = []
    for page in pages(source):
        wrong += complaints_of(["groff", "-man", "-Tutf8", "-Kutf8", "-ww", "-z", "-t", str(page)])
        # A month is date enough.
        wrong += [line for line in complaints_of(["mandoc", "-T", "lint", "-W", "warning", str(page)])
                  if "cannot parse date" not in line]
        wrong += [f"{page.name}: no section {section}" for section in missing_sections(page)]
    print("\n".join(wrong) if wrong else f"docs: {len(pages(source))} pages without complaint")
    return 1 if wrong else 0


def programs(source, build):
    wrong, seen = [], 0
    for name in installed_programs(source):
        found = [page for page in pages(source) if page.stem == name and page.suffix in (".1", ".8")]
        if not found:
            wrong.append(f"{name}: no manual page (man/{name}.8)")
            continue
        binary = build / "bin" / name
        if not binary.exists():
            print(f"SKIPPED: {name} is not built")
            continue
        seen += 1
        result = subprocess.run([str(binary), "--help"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        if result.returncode != 0 or result.stderr.strip():
            wrong.append(f"{name} --help: exit {result.returncode}, stderr {result.stderr.strip()!r}")
        if not LONG_OPTION.search(result.stdout):
            wrong.append(f"{name} --help: names no options")
        wrong += [f"{found[0].name}: {option} is not documented" for option in undocumented(result.stdout, plain(found[0]))]
    print("\n".join(wrong) if wrong else f"docs: {seen} programs agree with their pages")
    if wrong:
        return 1
    return 0 if seen else SKIPPED


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "lint":
        return lint(Path(sys.argv[2]))
    if len(sys.argv) == 4 and sys.argv[1] == "programs":
        return programs(Path(sys.argv[2]), Path(sys.argv[3]))
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
