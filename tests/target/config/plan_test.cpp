// From one configuration to the next: only what differs.
#include "target/config/plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "target/config/parse.hpp"

namespace mpath::target {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TargetdConfig read(std::string_view text) {
  const std::vector<ConfigFile> files{{.name = "c", .text = std::string(text)}};
  auto parsed = parse_targetd_config(files, [](const std::string&) { return std::string("some-secret-12"); });
  EXPECT_FALSE(has_errors(parsed.problems)) << parsed.problems[0].text();
  return std::move(parsed.config);
}

constexpr std::string_view base =
    "portal_group 1 { portal 10.0.0.1 }\nlu a { path /a\n size 1M }\nlu b { type ram; size 1M }\n"
    "target iqn.2026-01.org.example:a { lun 0 a }\ntarget iqn.2026-01.org.example:b { lun 0 b }\n";

std::vector<std::string> plan(std::string_view before, std::string_view after) {
  return make_plan(read(before), read(after)).lines();
}

std::string with(std::string_view from, std::string_view to) {
  std::string text(base);
  const auto at = text.find(from);
  EXPECT_NE(at, text.npos);
  return text.replace(at, from.size(), to);
}

TEST(ConfigPlan, IsEmptyForTheSame) {
  EXPECT_TRUE(make_plan(read(base), read(base)).empty());
  EXPECT_THAT(plan(base, std::string("\n# moved down\n") + std::string(base)), IsEmpty());
}
TEST(ConfigPlan, BuildsEverythingFromNothing) {
  EXPECT_THAT(make_plan(TargetdConfig{}, read(base)).lines(),
              ElementsAre("+ lu a", "+ lu b", "+ target iqn.2026-01.org.example:a",
                          "+ target iqn.2026-01.org.example:b", "~ portal groups"));
}
TEST(ConfigPlan, GrowsInUse) {
  EXPECT_THAT(plan(base, with("/a\n size 1M", "/a\n size 2M")), ElementsAre("~ lu a (in use)"));
}
TEST(ConfigPlan, DrillsInUse) {
  EXPECT_THAT(plan(base, with("/a\n size 1M", "/a\n size 1M\n drill stats")), ElementsAre("~ lu a (in use)"));
}
TEST(ConfigPlan, OpensAnewWhatIsAnotherMedium) {
  EXPECT_THAT(plan(base, with("path /a", "path /other")), ElementsAre("~ lu a (opened anew)"));
  EXPECT_THAT(plan(base, with("/a\n size 1M", "/a\n size 512k")), ElementsAre("~ lu a (opened anew)"));
  EXPECT_THAT(plan(base, with("ram; size 1M", "ram; size 2M")), ElementsAre("~ lu b (opened anew)"));
}
TEST(ConfigPlan, TouchesOneTargetOnly) {
  EXPECT_THAT(plan(base, with("{ lun 0 b }", "{ lun 0 b\n alias x }")),
              ElementsAre("~ target iqn.2026-01.org.example:b"));
  EXPECT_THAT(plan(base, with("target iqn.2026-01.org.example:b { lun 0 b }", "")),
              ElementsAre("- target iqn.2026-01.org.example:b"));
}
TEST(ConfigPlan, SeesANewSecretBehindTheSameName) {
  const auto before =
      with("{ lun 0 b }", "{ lun 0 b\n incoming_user joe }") + "account joe { secret first-secret-12 }\n";
  const auto after =
      with("{ lun 0 b }", "{ lun 0 b\n incoming_user joe }") + "account joe { secret other-secret-12 }\n";
  EXPECT_THAT(plan(before, after), ElementsAre("~ target iqn.2026-01.org.example:b"));
}
TEST(ConfigPlan, NamesWhatOnlyARestartChanges) {
  EXPECT_THAT(plan(base, std::string(base) + "global { shards 2 }\n"),
              ElementsAre("! global settings changed: they take effect at the next start"));
}

TEST(UnitPorts, ComeFromTheTargetsThatHoldTheUnit) {
  const auto config = read(
      "portal_group 1 { portal 10.0.0.1 }\nportal_group 2 { portal 10.0.0.2\n alua_group 1 }\nportal_group 3 { portal "
      "10.0.0.3\n peer yes }\n"
      "lu a { type ram; size 1M }\ntarget iqn.2026-01.org.example:a { lun 0 a }\n");
  const UnitPorts ports = ports_of(config, "a");
  ASSERT_EQ(ports.groups.size(), 2U);
  EXPECT_EQ(ports.groups[0].id, 1);
  EXPECT_THAT(ports.groups[0].ports, ElementsAre(1, 2));
  EXPECT_THAT(ports.groups[1].ports, ElementsAre(3));
  EXPECT_EQ(ports.ports.size(), 3U);
  EXPECT_THAT(ports_of(config, "other").ports, IsEmpty());
}

}  // namespace
}  // namespace mpath::target
