#!/usr/bin/env python3
"""Tests of tidy.py: each rule has a text that breaks it and one that does not."""
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import tidy  # noqa: E402

LEFT = "TO" + "DO"
HOME = "/ho" + "me/someone/x"

# name, file, text, the rules it breaks
CASES = [
    ("arrow up", "base/a.cpp", '#include "wire/scsi.hpp"\n', ["arrow"]),
    ("arrow sideways", "exports/a.cpp", '#include "mpathd/map.hpp"\n', ["arrow"]),
    ("arrow between doors and sessions", "exports/a.cpp", '#include "initiator/session.hpp"\n', ["arrow"]),
    ("arrow from target", "target/a.cpp", '#include "initiator/session.hpp"\n', ["arrow"]),
    ("arrow of a test", "tests/db/a_test.cpp", '#include "initiator/session.hpp"\n', ["arrow"]),
    ("arrow down", "mpathd/a.cpp", '#include "base/clock.hpp"\n#include "exports/nbd.hpp"\n', []),
    ("arrow of an integration test", "tests/support/a.cpp", '#include "initiator/session.hpp"\n', []),
    ("arrow in a comment", "base/a.cpp", '// #include "wire/scsi.hpp"\n', []),
    ("include upwards", "base/a.cpp", '#include "../wire/scsi.hpp"\n', ["include-root"]),
    ("include beside itself", "base/a.cpp", '#include "b.hpp"\n', ["include-root"]),
    ("include beside a test", "tests/base/a.cpp", '#include "b.hpp"\n', []),
    ("sqlite elsewhere", "initiator/a.cpp", "#include <sqlite3.h>\n", ["owned-header"]),
    ("sqlite at home", "db/a.cpp", "#include <sqlite3.h>\n", []),
    ("udev elsewhere", "mpathd/a.cpp", "#include <libudev.h>\n", ["owned-header"]),
    ("netlink elsewhere", "mpathd/a.cpp", "#include <linux/rtnetlink.h>\n", ["owned-header"]),
    ("libnl elsewhere", "initiator/a.cpp", "#include <netlink/route/link.h>\n", ["owned-header"]),
    ("libnl at home", "ifaces/a.cpp", "#include <netlink/route/link.h>\n#include <libudev.h>\n", []),
    ("generic netlink for kernel nbd", "exports/a.cpp", "#include <netlink/genl/genl.h>\n", []),
    ("libiscsi elsewhere", "mpathd/a.cpp", "#include <iscsi/iscsi.h>\n", ["owned-header"]),
    ("logic with Asio", "wire/a.cpp", "#include <boost/asio/post.hpp>\n", ["logic"]),
    ("logic by name", "mpathd/path_policy.cpp", '#include "base/log.hpp"\n', ["logic"]),
    ("logic by its own word", "mpathd/a.hpp", "// What it decides. Pure.\n#pragma once\n#include <mutex>\n", ["logic"]),
    ("shell may", "initiator/session.cpp", "#include <boost/asio/post.hpp>\n", []),
    ("steady clock", "mpathd/a.cpp", "auto t = std::chrono::steady_clock::now();\n", ["time"]),
    ("steady clock in a test", "tests/base/a_test.cpp", "auto t = steady_clock::now();\n", []),
    ("steady clock at home", "base/clock.cpp", "auto t = std::chrono::steady_clock::now();\n", []),
    ("thread sleep", "mpathd/a.cpp", "std::this_thread::sleep_for(1ms);\n", ["time"]),
    ("old sleeps", "mpathd/a.cpp", "usleep(3);\n::sleep(1);\n", ["time", "time"]),
    ("our own sleep", "mpathd/a.cpp", "co_await sleep_for(clock, 1s);\nco_await mpath::sleep_until(clock, at);\n", []),
    ("clock in a comment", "mpathd/a.cpp", "// not steady_clock::now()\n", []),
    ("clock in a text", "mpathd/a.cpp", 'auto s = "steady_clock::now()";\n', []),
    ("leftover", "mpathd/a.cpp", f"// {LEFT}: later\n", ["leftover"]),
    ("leftover in a script", "scripts/run", f"# {LEFT}\n", ["leftover"]),
    ("not a leftover", "mpathd/a.cpp", '"mpath-XXXXXX"; TODOS;\n', []),
    ("tab", "mpathd/a.cpp", "\tint a;\n", ["tab"]),
    ("tab in a literal", "mpathd/a.cpp", 'auto s = R"(\n\tx)";\n', []),
    ("tab in a transcript", "tests/golden/a.txt", "\tSID: 1\n", []),
    ("header without guard", "mpathd/a.hpp", "int a();\n", ["pragma-once"]),
    ("header with guard", "mpathd/a.hpp", "#pragma once\n", []),
    ("machine path", "scripts/run", f"cd {HOME}\n", ["machine-path"]),
    ("a path below another", "scripts/run", "cd $PREFIX/home/someone/x; ls ./root/x\n", []),
    ("await with braces", "mpathd/a.cpp", "void f() { co_await g({.name = s}); }\n", ["co-await"]),
    ("await behind a condition", "mpathd/a.cpp", "void f() {\n  const int a = b ? co_await g() : co_await h();\n}\n", ["co-await"]),
    ("await in a condition and no variable", "mpathd/a.cpp", "awaitable<void> A::f() {\n  if (!co_await g()) h();\n}\n", ["co-await"]),
    ("await in a loop's condition and no variable", "mpathd/a.cpp", "awaitable<int> f(int a) const {\n  b_ = 1;\n  while (co_await g(a)) h();\n}\n",
     ["co-await"]),
    ("await in a condition beside a variable", "mpathd/a.cpp", "awaitable<void> A::f() {\n  const bool a = b_;\n  if (!co_await g(a)) h();\n}\n", []),
    ("await in a condition that is a variable", "mpathd/a.cpp", "awaitable<void> f() {\n  if (const error_code e = co_await g()) h(e);\n}\n", []),
    ("await in the second condition", "mpathd/a.cpp",
     "awaitable<void> f() {\n  for (const auto& [a, b] : c_) h(a, b);\n  if (co_await g()) co_return;\n}\n", []),
    ("await as a condition", "mpathd/a.cpp", "void f() {\n  const int a = co_await g() ? 1 : 2;\n}\n", []),
    ("await with a braced type", "mpathd/a.cpp", "void f() {\n  int a = 1;\n  co_await g(Request{a});\n}\n", ["co-await"]),
    ("braces before the await", "mpathd/a.cpp", "void f() { g(Request{a}, co_await h()); }\n", ["co-await"]),
    ("await inside braces", "mpathd/a.cpp", "void f() { Request r = Request{.n = co_await g()}; }\n", ["co-await"]),
    ("returned braces", "mpathd/a.cpp", "void f() { co_return Request{co_await g()}; }\n", ["co-await"]),
    ("await with a capturing lambda", "mpathd/a.cpp", "void f() { co_await g([s]() { h(s); }, 1); }\n", ["co-await"]),
    ("await with a capturing coroutine", "mpathd/a.cpp",
     "void f() { co_await co_spawn(ex, [&]() -> awaitable<void> { co_return; }, use); }\n", ["co-await"]),
    ("braces in a condition", "mpathd/a.cpp", "void f() { if (co_await g({1})) { h(); } }\n", ["co-await"]),
    ("await with names", "mpathd/a.cpp",
     "void f() {\n  const Request r{.n = 1};\n  auto w = [&] { return 1; };\n  co_await g(r, w);\n}\n", []),
    ("await with calls", "mpathd/a.cpp", "void f() { const auto [e, n] = co_await s.read(buffer(a, b), token()); }\n", []),
    ("await in a condition", "mpathd/a.cpp", "void f() { if (co_await g()) { h(Request{1}); } }\n", []),
    ("await behind a condition", "mpathd/a.cpp", "void f() { if (x == Y{1}) co_await g(); }\n", []),
    ("await in a loop", "mpathd/a.cpp", "void f() { for (;;) { co_await g(); } while (co_await h()) { k(); } }\n", []),
    ("await behind a block", "mpathd/a.cpp", "void f() { { Request r{1}; } co_await g(); if (a) {} co_await h(); }\n", []),
    ("await in a lambda body", "mpathd/a.cpp", "void f() { auto w = [&]() -> awaitable<void> { co_await g(); }; }\n", []),
    ("await with a lambda that captures nothing", "mpathd/a.cpp", "void f() { co_await g([](int a) { return a; }); }\n", []),
    ("await with an index", "mpathd/a.cpp", "void f() { if (a) { b(); } else { x[1] = co_await g(y[2]); } }\n", []),
    ("await in a case", "mpathd/a.cpp", "void f() { switch (a) { case 1: co_await g(); break; } }\n", []),
    ("await in a try", "mpathd/a.cpp", "void f() { try { v.emplace(co_await std::move(op)); } catch (...) { e = c(); } }\n", []),
    ("await as the first of a function", "mpathd/a.cpp", "awaitable<void> call(F task) { co_await task(); }\n", []),
    ("a number with separators", "mpathd/a.cpp", "int a = 1'000'000; // it's {\nvoid f() { co_await g(); }\n", []),
]


class TidyTest(unittest.TestCase):
    def rules(self, file, text):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / file
            path.parent.mkdir(parents=True)
            path.write_text(text)
            return [line.split(": ")[1] for line in tidy.check_tree(Path(directory))]

    def test_cases(self):
        for name, file, text, expected in CASES:
            with self.subTest(name):
                self.assertEqual(self.rules(file, text), expected)

    def test_every_rule_has_a_violation(self):
        source = Path(tidy.__file__).read_text()
        named = {rule for rule in ("arrow", "include-root", "owned-header", "logic", "time", "leftover", "tab", "pragma-once",
                                   "machine-path", "co-await")}
        for rule in named:
            self.assertIn(f'"{rule}"', source)
        self.assertEqual(named, {rule for case in CASES for rule in case[3]})

    def test_names_file_and_line(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "base/a.cpp"
            path.parent.mkdir()
            path.write_text('int a;\n#include "wire/scsi.hpp"\n')
            self.assertEqual(list(tidy.check_tree(Path(directory))), ['base/a.cpp:2: arrow: base/ must not include "wire/scsi.hpp"'])


if __name__ == "__main__":
    unittest.main()
