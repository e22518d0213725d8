// The grammar itself: abbreviations, quotes, completion; and the command line of mpathctl.
#include <gtest/gtest.h>

#include <sstream>

#include "mpathd/command_table.hpp"
#include "mpathd/mpathctl_client.hpp"
#include "mpathd/mpathctl_options.hpp"
#include "mpathd/wildcards.hpp"
#include "tests/mpathd/command_support.hpp"

namespace mpath {
namespace {

using Words = std::vector<std::string>;

struct ParseRow {
  const char* name;
  const char* line;
  CommandId id;
};
class Parse : public testing::TestWithParam<ParseRow> {};

TEST_P(Parse, FindsTheCommand) {
  const auto command = parse_command(GetParam().line);
  ASSERT_TRUE(command) << command.error().text;
  EXPECT_EQ(command->id, GetParam().id);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Parse,
    testing::Values(ParseRow{"whole", "show paths", CommandId::show_paths}, ParseRow{"list", "list maps", CommandId::show_maps},
                    ParseRow{"multipaths", "list multipaths", CommandId::show_maps},
                    ParseRow{"shortened", "sho stat", CommandId::show_status},
                    ParseRow{"exact_beats_longer", "show map x", CommandId::show_map},
                    ParseRow{"letter", "l paths", CommandId::show_paths},
                    ParseRow{"by_place", "show t", CommandId::show_maps_topology},
                    ParseRow{"by_place_2", "show maps statu", CommandId::show_maps_status},
                    ParseRow{"config", "show c", CommandId::show_config}, ParseRow{"local", "show c l", CommandId::show_config_local},
                    ParseRow{"origin", "show conf or", CommandId::show_config_origin},
                    ParseRow{"blanks", "  show\tpaths  ", CommandId::show_paths}, ParseRow{"quit", "q", CommandId::quit},
                    ParseRow{"exit", "exi", CommandId::quit}, ParseRow{"question", "?", CommandId::help},
                    ParseRow{"switchgroup", "switchgroup map a group 1", CommandId::switch_group},
                    ParseRow{"maps_json", "show maps json", CommandId::show_maps_json},
                    ParseRow{"quoted", "\"show\" 'paths'", CommandId::show_paths}),
    [](const auto& row) { return row.param.name; });

TEST(Parser, TheFormatTakesTheRestOfTheLine) {
  EXPECT_EQ(parse_command("show paths format %d %T  ")->format, "%d %T");
  EXPECT_EQ(parse_command("show paths raw format \"%d  %T\"")->format, "%d  %T");
  EXPECT_EQ(parse_command("show maps format \"%n\" json")->json, true);
  EXPECT_EQ(parse_command("show maps format %n json")->format, "%n json");
  EXPECT_TRUE(parse_command("show paths raw format %d")->raw);
}

TEST(Parser, NamesMayBeKeywordsOrHoldBlanks) {
  EXPECT_EQ(parse_command("show map json")->map, "json");
  EXPECT_EQ(parse_command("show map \"two words\" topology")->map, "two words");
  EXPECT_EQ(parse_command("resize map maps")->map, "maps");
  EXPECT_EQ(parse_command("fail path 'it'")->path, "it");
}

TEST(Parser, EveryFormOfTheTableIsFoundByItsOwnWords) {
  for (const CommandForm& form : command_forms()) {
    std::string line;
    for (std::size_t i = 0; i < form.size(); ++i) {
      for (const KeywordSpelling& spelling : keyword_spellings())
        if (spelling.keyword == form.words[i]) {
          line += std::string(spelling.word) + (spelling.argument == Argument::none ? " " : " 1 ");
          break;
        }
    }
    const auto command = parse_command(line);
    ASSERT_TRUE(command) << line << ": " << command.error().text;
    EXPECT_EQ(command->id, form.id) << line;
    EXPECT_EQ(command->changes, form.changes) << line;
  }
}

TEST(Parser, NeverFallsOverOddLines) {
  for (const char* line : {"\"", "'", "\"\"", "show \"\"", "show paths format \"", "%", "\xff\xfe", "show map '' json", "show  \"pat"}) {
    static_cast<void>(parse_command(line));
    static_cast<void>(complete_line(line, {}));
  }
}

const KnownNames names{.maps = {"mpatha", "mpathb", "archive"}, .paths = {"p0", "p1", "p10"}};

TEST(Complete, FirstWords) {
  EXPECT_EQ(complete_command("sh", names), (Words{"show", "shutdown"}));
  EXPECT_EQ(complete_command("fa", names), (Words{"fail"}));
  EXPECT_EQ(complete_command("x", names), Words{});
  EXPECT_GT(complete_command("", names).size(), 15U);
}

TEST(Complete, LaterWords) {
  EXPECT_EQ(complete_command("show p", names), (Words{"path", "paths"}));
  EXPECT_EQ(complete_command("show maps ", names), (Words{"format", "json", "raw", "stats", "status", "topology"}));
  EXPECT_EQ(complete_command("sho maps st", names), (Words{"stats", "status"}));
  EXPECT_EQ(complete_command("show paths raw ", names), (Words{"format"}));
  EXPECT_EQ(complete_command("shutdown ", names), (Words{"json"}));
  EXPECT_EQ(complete_command("frob ", names), Words{});
  EXPECT_EQ(complete_command("show status json ", names), Words{});
}

TEST(Complete, Names) {
  EXPECT_EQ(complete_command("resize map ", names), (Words{"archive", "mpatha", "mpathb"}));
  EXPECT_EQ(complete_command("resize map mp", names), (Words{"mpatha", "mpathb"}));
  EXPECT_EQ(complete_command("fail path p1", names), (Words{"p1", "p10"}));
  EXPECT_EQ(complete_command("switch map mpatha ", names), (Words{"group"}));
  EXPECT_EQ(complete_command("switch map mpatha group ", names), Words{});
}

TEST(Complete, PutsInWhatIsCertain) {
  EXPECT_EQ(complete_line("fa", names).insert, "il ");
  EXPECT_EQ(complete_line("show ma", names).insert, "p");
  EXPECT_EQ(complete_line("resize map m", names).insert, "path");
  EXPECT_EQ(complete_line("resize map ", names).insert, "");
  EXPECT_EQ(complete_line("show paths raw ", names).insert, "format ");
  EXPECT_EQ(complete_line("resize map \"mpa", names).insert, "") << "a quoted word is the user's own";
  EXPECT_EQ(complete_line("resize map ", names).choices.size(), 3U);
}

using Mode = MpathctlOptions::Mode;

struct OptionRow {
  const char* name;
  Words arguments;
  Mode mode;
  const char* line;
};
class Options : public testing::TestWithParam<OptionRow> {};

TEST_P(Options, SayWhatIsWanted) {
  const MpathctlOptions options = parse_mpathctl_options(GetParam().arguments, "1.2.3");
  EXPECT_EQ(options.mode, GetParam().mode) << options.text;
  EXPECT_EQ(options.line, GetParam().line);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Options,
    testing::Values(OptionRow{"bare", {}, Mode::shell, ""}, OptionRow{"k", {"-k"}, Mode::shell, ""},
                    OptionRow{"words", {"show", "paths"}, Mode::line, "show paths"},
                    OptionRow{"k_attached", {"-kshow paths"}, Mode::line, "show paths"},
                    OptionRow{"k_apart", {"-k", "show paths"}, Mode::line, "show paths"},
                    OptionRow{"k_words", {"-k", "show", "paths"}, Mode::line, "show paths"},
                    OptionRow{"format", {"show", "paths", "raw", "format", "%d %T"}, Mode::line, "show paths raw format \"%d %T\""},
                    OptionRow{"format_quote", {"show", "maps", "format", "\"%n\""}, Mode::line, "show maps format '\"%n\"'"},
                    OptionRow{"json_last", {"show", "paths", "--json"}, Mode::line, "show paths"},
                    OptionRow{"root", {"--root", "/tmp/r", "show", "status"}, Mode::line, "show status"},
                    OptionRow{"ll", {"-ll"}, Mode::topology, ""}, OptionRow{"l", {"-l", "mpatha"}, Mode::topology, ""},
                    OptionRow{"help", {"--help"}, Mode::finished, ""}, OptionRow{"version", {"--version"}, Mode::finished, ""},
                    OptionRow{"unknown", {"--frob"}, Mode::finished, ""}, OptionRow{"lll", {"-lll"}, Mode::finished, ""},
                    OptionRow{"l_and_k", {"-l", "-k"}, Mode::finished, ""}, OptionRow{"l_two", {"-ll", "a", "b"}, Mode::finished, ""},
                    OptionRow{"no_root", {"--root"}, Mode::finished, ""},
                    OptionRow{"timeout", {"--timeout", "0"}, Mode::finished, ""},
                    OptionRow{"timeout_nan", {"--timeout", "nan"}, Mode::finished, ""}),
    [](const auto& row) { return row.param.name; });

TEST(Option, Details) {
  EXPECT_TRUE(parse_mpathctl_options({"-l"}, "").brief);
  EXPECT_FALSE(parse_mpathctl_options({"-ll"}, "").brief);
  EXPECT_EQ(parse_mpathctl_options({"-ll", "mpatha"}, "").map, "mpatha");
  EXPECT_TRUE(parse_mpathctl_options({"show", "paths", "--json"}, "").json);
  EXPECT_TRUE(parse_mpathctl_options({"--json", "-ll"}, "").json);
  EXPECT_EQ(parse_mpathctl_options({"--root", "/tmp/r", "-ll"}, "").root, "/tmp/r");
  EXPECT_EQ(parse_mpathctl_options({"--timeout", "0.5", "-ll"}, "").timeout, std::chrono::milliseconds(500));
  EXPECT_EQ(parse_mpathctl_options({"--version"}, "1.2.3").text, "mpathctl 1.2.3\n");
  EXPECT_EQ(parse_mpathctl_options({"--help"}, "").status, 0);
  EXPECT_EQ(parse_mpathctl_options({"--frob"}, "").status, 1);
}

TEST(Reply, IsTakenApartForTheTwoStreams) {
  EXPECT_EQ(take_apart({"ok\n", 0}).text, "ok\n");
  EXPECT_EQ(take_apart({"fail\nmap or partition in use\n", 1}).text, "fail\n");
  EXPECT_EQ(take_apart({"fail\nmap or partition in use\n", 1}).reason, "map or partition in use");
  EXPECT_EQ(take_apart({"fail\n", 1}).reason, "");
  EXPECT_EQ(take_apart({"failover 3\n", 0}).text, "failover 3\n");
}

// The page without its markup: lower-case words and options, one blank between.
std::string page_words() {
  std::istringstream file(shell_test::page("mpathctl.8"));
  std::string words;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('.')) line.erase(0, line.find(' '));
    for (const char* markup : {"\\fR", "\\fI", "\\fB", "\\"})
      for (std::size_t at = 0; (at = line.find(markup)) != line.npos;) line.erase(at, std::string_view(markup).size());
    for (char& c : line)
      if (!(c >= 'a' && c <= 'z') && c != '-') c = ' ';
    std::istringstream split(line);
    for (std::string word; split >> word;) words += word + " ";
  }
  return words;
}

TEST(ManualOfMpathctl, HasEveryCommand) {
  const std::string words = page_words();
  for (const CommandForm& form : command_forms()) {
    if (form.id == CommandId::not_supported) continue;
    std::string command;
    for (std::size_t i = 0; i < form.size() && form.words[i] != Keyword::raw && form.words[i] != Keyword::format; ++i)
      for (const KeywordSpelling& spelling : keyword_spellings())
        if (spelling.keyword == form.words[i]) {
          command += std::string(spelling.word) + " ";
          break;
        }
    EXPECT_NE(words.find(command), words.npos) << "man/mpathctl.8 lacks " << command;
  }
}

TEST(ManualOfMpathctl, HasEveryWildcardAndOption) {
  const std::string page = shell_test::page("mpathctl.8");
  for (const PathWildcard& wildcard : path_wildcards())
    EXPECT_NE(page.find(std::string("\n%") + wildcard.letter + "|"), page.npos) << wildcard.letter;
  for (const MapWildcard& wildcard : map_wildcards())
    EXPECT_NE(page.find(std::string("\n%") + wildcard.letter + "|"), page.npos) << wildcard.letter;
  const std::string words = page_words();
  std::istringstream help(parse_mpathctl_options({"--help"}, "").text);
  int options = 0;
  for (std::string word; help >> word;) {
    std::istringstream spellings(word);
    for (std::string name; std::getline(spellings, name, ',');) {
      if (!name.starts_with('-')) continue;
      ++options;
      EXPECT_NE((" " + words).find(" " + name.substr(0, name.find_first_of("[|")) + " "), words.npos) << name;
    }
  }
  EXPECT_GT(options, 8);
}

}  // namespace
}  // namespace mpath
