#include "base/config_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/settings.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> texts(const ConfigProblems& problems) {
  std::vector<std::string> result;
  for (const ConfigProblem& problem : problems) result.push_back(problem.text());
  return result;
}

// A section as one line: name{key=value@line ... name{...}}.
std::string shape(const ConfigSection& section) {
  std::string text = section.name + "{";
  for (const ConfigEntry& entry : section.entries) {
    text += entry.key + "=" + entry.value + "@" + std::to_string(entry.origin.line) + " ";
  }
  for (const ConfigSection& below : section.sections) text += shape(below) + " ";
  if (text.ends_with(' ')) text.pop_back();
  return text + "}";
}

ConfigTree flat(std::string_view text) { return parse_config(ConfigGrammar::flat, text, "iscsid.conf"); }
ConfigTree sections(std::string_view text) { return parse_config(ConfigGrammar::sections, text, "multipath.conf"); }

TEST(FlatConfig, ReadsKeysAndValues) {
  const auto tree = flat(
      "# comment\n\n  # another\nnode.startup = automatic\nnode.session.auth.password=a # b = c!\n  iface.mtu\t=\t0  \r\n"
      "node.session.auth.username =\nlast = line without end");
  EXPECT_THAT(tree.problems, IsEmpty());
  EXPECT_EQ(shape(tree.root),
            "{node.startup=automatic@4 node.session.auth.password=a # b = c!@5 iface.mtu=0@6 "
            "node.session.auth.username=@7 last=line without end@8}");
}

TEST(FlatConfig, NamesEveryBadLineAndReadsTheOthers) {
  using namespace std::string_view_literals;
  const auto tree = flat("automatic\ngood = 1\n= 3\ntwo words = 3\nzero = \0\nlast = 2\n"sv);
  EXPECT_THAT(texts(tree.problems),
              ElementsAre("iscsid.conf:1: \"automatic\" is not \"key = value\"", "iscsid.conf:3: there is no key before the =",
                          "iscsid.conf:4: the key \"two words\" holds a blank",
                          "iscsid.conf:5: the line holds a zero byte: this is not a text file"));
  EXPECT_EQ(shape(tree.root), "{good=1@2 last=2@6}");
}

TEST(BlockConfig, ReadsLabelsAndValuesOfSeveralWords) {
  const auto tree = parse_config(ConfigGrammar::blocks,
                                 "lu disk {\n  path /a#b  # why\n  lun 0 \"a disk\"; alias x;y;\n}\nempty \"\" { a b }\n", "c");
  EXPECT_THAT(tree.problems, IsEmpty());
  EXPECT_EQ(shape(tree.root), "{lu{path=/a#b@2 lun=0 a disk@3 alias=x;y@3} empty{a=b@5}}");
  EXPECT_EQ(tree.root.sections[0].label, "disk");
  EXPECT_THAT(tree.root.sections[0].entries[1].words, ElementsAre("0", "a disk"));
}

TEST(BlockConfig, NamesKeysWithoutAValue) {
  const auto tree = parse_config(ConfigGrammar::blocks, "a { b; c }\n", "c");
  EXPECT_THAT(texts(tree.problems), ElementsAre("c:1: \"b\" has no value", "c:1: \"c\" has no value"));
}

TEST(SectionConfig, ReadsNestedSections) {
  const auto tree = sections(R"(# comment
! also a comment
defaults {
  user_friendly_names yes # behind a value
  path_selector  "round-robin 0"!glued
}
blacklist { devnode "^(ram|loop)[0-9]*" }
devices {
  device {
    vendor "A ""B"" C"
    product ""
  }
  device { vendor X product Y }
}
)");
  EXPECT_THAT(texts(tree.problems), ElementsAre("multipath.conf:13: \"product\" after the value of \"vendor\" is ignored: a value "
                                                "of several words is put in quotes"));
  EXPECT_EQ(shape(tree.root),
            "{defaults{user_friendly_names=yes@4 path_selector=round-robin 0@5} blacklist{devnode=^(ram|loop)[0-9]*@7} "
            "devices{device{vendor=A \"B\" C@10 product=@11} device{vendor=X@13}}}");
}

TEST(SectionConfig, TellsTheOldRoundRobinSpellingFromAnError) {
  const auto tree = sections("defaults {\n path_selector round-robin 0\n}\n");
  EXPECT_FALSE(has_errors(tree.problems));
  EXPECT_THAT(texts(tree.problems), ElementsAre(testing::HasSubstr("multipath.conf:2: \"0\" after the value")));
}

TEST(SectionConfig, NamesEveryMistake) {
  const auto tree = sections("}\ndefaults {\n  alone\n  open \"quote\n  {\n  }\n  good 1\n}\nleft {\n  open {\n");
  EXPECT_THAT(texts(tree.problems),
              ElementsAre("multipath.conf:1: a } without a section to close", "multipath.conf:3: \"alone\" has no value",
                          "multipath.conf:4: a quote is not closed before the end of the line",
                          "multipath.conf:5: a section without a name", "multipath.conf:10: section \"open\" is not closed",
                          "multipath.conf:9: section \"left\" is not closed"));
  EXPECT_EQ(shape(tree.root), "{defaults{good=1@7 {}} left{open{}}}");
}

TEST(SectionConfig, BoundsItsDepth) {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += "a {\n";
  text += "key value\n";
  for (int i = 0; i < 100000; ++i) text += "}\n";
  text += "after 1\n";
  const auto tree = sections(text);
  EXPECT_THAT(texts(tree.problems), ElementsAre("multipath.conf:17: sections are nested too deep"));
  ASSERT_EQ(tree.root.entries.size(), 1u);
}

TEST(SectionConfig, SurvivesEveryTruncation) {
  const std::string whole = "defaults {\n a \"b \"\" c\"\n}\ndevices {\n device {\n  vendor X # y\n }\n}\n";
  for (std::size_t length = 0; length <= whole.size(); ++length) {
    const auto tree = sections(std::string_view(whole).substr(0, length));
    EXPECT_LE(tree.root.sections.size(), 2u) << length;
  }
}

TEST(SectionConfig, WritesValuesThatReadBack) {
  for (const char* value : {"plain", "", "two words", "say \"hi\"", "a#b", "!x", "{", "\"", "\"\""}) {
    const auto tree = sections("key " + config_quoted(value) + "\n");
    ASSERT_EQ(tree.root.entries.size(), 1u) << value;
    EXPECT_EQ(tree.root.entries[0].value, value);
    EXPECT_THAT(tree.problems, IsEmpty());
  }
}

TEST(SectionConfig, FindsSectionsOfSeveralFilesInOrder) {
  auto tree = sections("devices {\n device {\n vendor A\n }\n}\n");
  tree.root.append(std::move(sections("devices {\n device {\n vendor B\n }\n}\ndefaults {\n}\n").root));
  const auto devices = tree.root.at("devices.device");
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_EQ(devices[0]->entries[0].value, "A");
  EXPECT_EQ(devices[1]->entries[0].value, "B");
  EXPECT_EQ(tree.root.at("nothing").size(), 0u);
}

TEST(ReadConfig, SaysWhyAFileCannotBeRead) {
  const test::TemporaryDirectory directory;
  const auto missing = read_config(ConfigGrammar::flat, directory / "none");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error(), std::errc::no_such_file_or_directory);
  const auto folder = read_config(ConfigGrammar::flat, directory.path());
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error(), std::errc::is_a_directory);
  std::ofstream(directory / "large") << std::string(config_bytes_max + 1, '#');
  const auto large = read_config(ConfigGrammar::flat, directory / "large");
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error(), std::errc::file_too_large);
  std::ofstream(directory / "good") << "a = 1\n";
  const auto good = read_config(ConfigGrammar::flat, directory / "good");
  ASSERT_TRUE(good);
  EXPECT_EQ(good->root.entries.at(0).origin.text(), (directory / "good").string() + ":1");
}

constexpr Setting rows[] = {
    {.section = "defaults", .key = "polling_interval", .type = SettingType::duration, .unit = "s", .fallback = "5", .least = 1000},
    {.section = "defaults", .key = "selector", .type = SettingType::word, .fallback = "rr", .words = "rr|ql|st"},
    {.section = "defaults", .key = "failback", .type = SettingType::duration, .fallback = "manual", .words = "manual|immediate"},
    {.section = "defaults", .key = "no_path_retry", .type = SettingType::integer, .least = 1, .most = 100, .words = "fail|queue"},
    {.section = "defaults", .key = "chunk", .type = SettingType::size, .unit = "k", .fallback = "64", .most = 1 << 20},
    {.section = "defaults", .key = "friendly", .type = SettingType::yes_no, .fallback = "no"},
    {.section = "defaults", .key = "secret", .secret = true},
    {.section = "defaults", .key = "old_thing", .type = SettingType::ignored},
    {.section = "blacklist", .key = "devnode", .type = SettingType::regex, .repeatable = true},
    {.section = "devices.device", .key = "vendor"},
};

class SettingsTest : public testing::Test {
 protected:
  SettingValues values(const ConfigTree& tree, const std::string& section) {
    SettingValues result(table, section);
    for (const ConfigSection* each : tree.root.at(section)) result.apply(*each);
    return result;
  }
  SettingsTable table{rows};
};

TEST_F(SettingsTest, GivesDefaultsForWhatIsNotSet) {
  const SettingValues defaults(table, "defaults");
  EXPECT_EQ(defaults.duration("polling_interval"), 5s);
  EXPECT_EQ(defaults.text("selector"), "rr");
  EXPECT_TRUE(defaults.is_word("failback"));
  EXPECT_EQ(defaults.size("chunk"), 65536u);
  EXPECT_FALSE(defaults.yes_no("friendly"));
  EXPECT_FALSE(defaults.is_set("chunk"));
  EXPECT_EQ(defaults.text("no_path_retry"), "");
}

TEST_F(SettingsTest, GivesTheLastValueAndItsOrigin) {
  const auto tree = sections("defaults {\n polling_interval 500ms\n polling_interval 2\n failback 10\n chunk 1M\n friendly yes\n}\n"
                             "defaults {\n no_path_retry 12\n}\n");
  EXPECT_THAT(table.validate(tree.root), testing::SizeIs(1)) << "the first polling_interval is too small, though not in force";
  const auto in_force = values(tree, "defaults");
  EXPECT_EQ(in_force.duration("polling_interval"), 2s);
  EXPECT_EQ(in_force.origin("polling_interval").text(), "multipath.conf:3");
  EXPECT_FALSE(in_force.is_word("failback"));
  EXPECT_EQ(in_force.duration("failback"), 10s);
  EXPECT_EQ(in_force.size("chunk"), 1048576u);
  EXPECT_TRUE(in_force.yes_no("friendly"));
  EXPECT_EQ(in_force.integer("no_path_retry"), 12);
}

TEST_F(SettingsTest, CollectsEveryProblem) {
  const auto tree = sections(
      "defaults {\n poling_interval 5\n selector fastest\n failback soon\n no_path_retry 0\n chunk 2M\n friendly maybe\n old_thing 1\n"
      " something_else 1\n}\nblacklist {\n devnode \"(\"\n devnode \"!^sd\"\n}\ndevices {\n device {\n vendor \"x\"\n color red\n }\n"
      " gadget {\n }\n}\nmultipath {\n}\n");
  EXPECT_THAT(
      texts(table.validate(tree.root)),
      ElementsAre("multipath.conf:2: unknown setting \"poling_interval\" in section \"defaults\": did you mean \"polling_interval\"?",
                  "multipath.conf:3: selector: \"fastest\" is not one of rr, ql, st",
                  "multipath.conf:4: failback: \"soon\" is not a time like 15s or 500ms (or manual, immediate)",
                  "multipath.conf:5: no_path_retry: 0 is outside 1..100 (or fail, queue)",
                  "multipath.conf:6: chunk: 2M is more than 1M", "multipath.conf:7: friendly: \"maybe\" is not yes or no",
                  "multipath.conf:8: \"old_thing\" has no effect here",
                  "multipath.conf:9: unknown setting \"something_else\" in section \"defaults\"",
                  testing::StartsWith("multipath.conf:12: devnode: \"(\" is not a regular expression: "),
                  "multipath.conf:18: unknown setting \"color\" in section \"devices.device\"",
                  "multipath.conf:20: unknown section \"devices.gadget\"", "multipath.conf:23: unknown section \"multipath\""));
}

TEST_F(SettingsTest, KeepsEveryLineOfARepeatableSetting) {
  const auto tree = sections("blacklist {\n devnode a\n devnode b\n}\n");
  EXPECT_THAT(values(tree, "blacklist").all("devnode"), ElementsAre("a", "b"));
}

TEST_F(SettingsTest, ShowsValuesInForceWithTheirOrigin) {
  const auto tree = sections("defaults {\n selector ql\n secret abc\n old_thing 1\n}\n");
  auto in_force = values(tree, "defaults");
  EXPECT_EQ(in_force.set("friendly", "yes", Origin{"command line", 0}), std::nullopt);
  EXPECT_EQ(in_force.set("friendly", "x", Origin{"command line", 0}), "\"x\" is not yes or no");
  EXPECT_EQ(in_force.set("fiendly", "yes", Origin{}), "unknown setting \"fiendly\" in section \"defaults\": did you mean \"friendly\"?");
  std::vector<std::string> lines;
  for (const auto& row : in_force.rows()) lines.push_back(row.key + " " + row.value + " " + row.origin);
  EXPECT_THAT(lines, ElementsAre("polling_interval 5 default", "selector ql multipath.conf:2", "failback manual default",
                                 "chunk 64 default", "friendly yes command line", "secret ******** multipath.conf:3"));
}

TEST_F(SettingsTest, ATableThatRefusesItsOwnDefaultIsABug) {
  static constexpr Setting bad[] = {{.section = "", .key = "k", .type = SettingType::integer, .fallback = "x"}};
  static constexpr Setting twice[] = {{.section = "", .key = "k"}, {.section = "", .key = "k"}};
  EXPECT_DEATH(SettingsTable{bad}, "CHECK");
  EXPECT_DEATH(SettingsTable{twice}, "CHECK");
}

}  // namespace
}  // namespace mpath
