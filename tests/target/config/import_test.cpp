// Other targets' configurations as ours: reviewed transcripts, and proof that the result is a valid configuration.
#include "target/config/import.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "target/config/parse.hpp"

namespace mpath::target {
namespace {

constexpr const char* folder = "tests/target/config/import/";

std::string content(const std::string& name) {
  std::stringstream text;
  text << std::ifstream(folder + name).rdbuf();
  return text.str();
}

// MPATH_UPDATE_GOLDEN=1 writes what comes out; review it as prose.
void expect_golden(const std::string& name, const std::string& text) {
  if (std::getenv("MPATH_UPDATE_GOLDEN") != nullptr) std::ofstream(folder + name) << text;
  EXPECT_EQ(text, content(name));
}

void expect_valid(const std::string& text) {
  const std::vector<ConfigFile> files{{.name = "imported", .text = text}};
  const auto parsed = parse_targetd_config(files, [](const std::string&) { return std::string(); });
  for (const ConfigProblem& problem : parsed.problems) ADD_FAILURE() << problem.text();
}

TEST(Import, Ietd) {
  const Imported imported = import_ietd(content("ietd.conf"), "ietd.conf");
  EXPECT_TRUE(imported.readable);
  EXPECT_EQ(imported.lost, 5U);
  expect_golden("ietd.golden", imported.text);
  expect_valid(imported.text);
}

TEST(Import, Tgt) {
  const Imported imported = import_tgt(content("targets.conf"), "targets.conf");
  EXPECT_TRUE(imported.readable);
  EXPECT_EQ(imported.lost, 6U);
  expect_golden("tgt.golden", imported.text);
  expect_valid(imported.text);
}

TEST(Import, SaysWhenThereIsNothing) {
  EXPECT_FALSE(import_ietd("", "x").readable);
  EXPECT_FALSE(import_ietd("hello world\n", "x").readable);
  EXPECT_FALSE(import_tgt("hello world\n<x", "x").readable);
}

// Every line of the file is in the result or in a comment of it: cut off anywhere, nothing crashes.
TEST(Import, TakesAnyPartOfAFile) {
  for (const char* name : {"ietd.conf", "targets.conf"}) {
    const std::string whole = content(name);
    ASSERT_FALSE(whole.empty());
    for (std::size_t size = 0; size < whole.size(); ++size) {
      static_cast<void>(import_ietd(whole.substr(0, size), name));
      static_cast<void>(import_tgt(whole.substr(0, size), name));
    }
  }
}

}  // namespace
}  // namespace mpath::target
