#!/usr/bin/env python3
"""Tests of docs.py."""
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import docs  # noqa: E402


class DocsTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        (self.root / "man").mkdir()
        (self.root / "tools").mkdir()
        (self.root / "build/bin").mkdir(parents=True)

    def page(self, text, name="tool.8"):
        page = self.root / "man" / name
        page.write_text(text)
        return page

    def program(self, script):
        (self.root / "tools/CMakeLists.txt").write_text("mpath_program(tool MAIN a.cpp)\nmpath_program(test NO_INSTALL MAIN b.cpp)\n")
        binary = self.root / "build/bin/tool"
        binary.write_text("#!/bin/sh\n" + script)
        binary.chmod(0o755)

    def run_programs(self):
        return docs.programs(self.root, self.root / "build")

    def test_finds_an_option_without_documentation(self):
        self.page(".TH tool 8\n.TP\n.BR \\-\\-known , \" \" \\fB\\-\\-op\\fR=\\fIX\\fR\n")
        self.program("echo '  --known  x'; echo '  -o,--op X'\n")
        self.assertEqual(self.run_programs(), 0)
        self.program("echo '  --known  --secret-way'\n")
        self.assertEqual(self.run_programs(), 1)

    def test_a_longer_option_does_not_document_a_shorter_one(self):
        self.assertEqual(docs.undocumented("--log --login", "--login"), ["--log"])

    def test_wants_a_page_for_each_installed_program(self):
        self.program("echo --help\n")
        self.assertEqual(docs.installed_programs(self.root), ["tool"])
        self.assertEqual(self.run_programs(), 1)

    def test_wants_a_help_that_succeeds_in_silence(self):
        self.page("--help")
        self.program("echo --help; echo oops >&2\n")
        self.assertEqual(self.run_programs(), 1)
        self.program("echo --help; exit 1\n")
        self.assertEqual(self.run_programs(), 1)

    def test_names_missing_sections(self):
        page = self.page('.SH NAME\n.SH "EXIT STATUS"\n.SH EXAMPLE\n.SH OPTIONS\n.SH DESCRIPTION\n')
        self.assertEqual(docs.missing_sections(page), ["SYNOPSIS", "EXAMPLES", "FILES", "SEE ALSO"])

    def test_lint_finds_bad_markup(self):
        good = ('.TH tool 7 2026-01-01 mpathd\n.SH NAME\ntool \\- a tool\n.SH DESCRIPTION\nText.\n.SH SEE ALSO\n.BR other (8)\n')
        self.page(good, "tool.7")
        if docs.lint(self.root) == docs.SKIPPED:
            self.skipTest("groff or mandoc is missing")
        self.assertEqual(docs.lint(self.root), 0)
        self.page(good + ".XYZ\n", "tool.7")
        self.assertEqual(docs.lint(self.root), 1)


if __name__ == "__main__":
    unittest.main()
