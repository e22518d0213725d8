// man/mptarget.conf.5 and the table of settings say the same.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <sstream>

#include "target/config/settings_table.hpp"

namespace mpath::target {
namespace {

std::string page() {
  std::stringstream text;
  text << std::ifstream("man/mptarget.conf.5").rdbuf();
  return text.str();
}

std::string section_of(const std::string& text, std::string_view section) {
  const std::size_t begin = text.find(fmt::format("\n.SS Section {}", section));
  EXPECT_NE(begin, text.npos) << section;
  return begin == text.npos ? "" : text.substr(begin, text.find("\n.SS ", begin + 1) - begin);
}

std::string escaped(std::string text) {
  for (std::size_t dash = 0; (dash = text.find('-', dash)) != text.npos; dash += 2) text.replace(dash, 1, "\\-");
  return text;
}

TEST(Manual, HasEveryKeyAndItsDefault) {
  const std::string text = page();
  ASSERT_FALSE(text.empty());
  for (const Setting& setting : target_settings().rows()) {
    const std::string section = section_of(text, setting.section);
    const bool ignored = setting.type == SettingType::ignored;
    const std::string head = ignored ? fmt::format("\n.B {}\n", setting.key) : fmt::format("\n.BI {} ", setting.key);
    const std::size_t at = section.find(head);
    ASSERT_NE(at, section.npos) << "man/mptarget.conf.5 lacks " << setting.section << "." << setting.key;
    if (ignored || setting.fallback.empty()) continue;
    const std::string entry = section.substr(at, section.find("\n.TP", at + 1) - at);
    EXPECT_NE(entry.find(fmt::format("Default: {}.", escaped(std::string(setting.fallback)))), entry.npos) << entry;
  }
}

TEST(Manual, HasNoOtherKey) {
  const std::string text = page();
  const std::regex tagged("\n\\.TP\n\\.(?:BI|B) ([a-zA-Z0-9_]+)(?: |\n)");
  for (const char* name : {"global", "discovery", "account", "portal_group", "cluster", "lu", "target"}) {
    const std::string section = section_of(text, name);
    for (std::sregex_iterator at(section.begin(), section.end(), tagged), end; at != end; ++at)
      EXPECT_NE(target_settings().find(name, (*at)[1].str()), nullptr) << name << "." << (*at)[1];
  }
}

TEST(Manual, HasTheNamesOfIetd) {
  const std::string text = page();
  for (const char* name : {"IncomingUser",
                           "OutgoingUser",
                           "Lun",
                           "Alias",
                           "MaxConnections",
                           "InitialR2T",
                           "ImmediateData",
                           "MaxRecvDataSegmentLength",
                           "MaxXmitDataSegmentLength",
                           "MaxBurstLength",
                           "FirstBurstLength",
                           "DefaultTime2Wait",
                           "DefaultTime2Retain",
                           "MaxOutstandingR2T",
                           "DataPDUInOrder",
                           "DataSequenceInOrder",
                           "ErrorRecoveryLevel",
                           "HeaderDigest",
                           "DataDigest",
                           "Wthreads",
                           "QueuedCommands"}) {
    EXPECT_FALSE(ours_of_ietd(name).empty()) << name;
    EXPECT_NE(text.find(name), text.npos) << "man/mptarget.conf.5 lacks " << name;
  }
}

}  // namespace
}  // namespace mpath::target
